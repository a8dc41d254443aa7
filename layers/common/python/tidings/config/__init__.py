"""Settings, secrets that lie in AWS, and their rotation."""
