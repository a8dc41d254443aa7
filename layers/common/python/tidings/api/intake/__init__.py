"""The intake's endpoints."""
