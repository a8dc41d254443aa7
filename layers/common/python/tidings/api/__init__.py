"""The HTTP API: endpoints with their models, errors and examples, and the App that serves them."""
