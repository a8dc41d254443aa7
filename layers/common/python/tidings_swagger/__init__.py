"""The files of the page `/docs`: Swagger UI and ours. A package by itself, so that only functions that serve the page
carry its two megabytes."""
