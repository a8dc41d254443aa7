"""The operator's endpoints, and the console's files."""
