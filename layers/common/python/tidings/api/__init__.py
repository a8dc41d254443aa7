"""The HTTP API: endpoints, what they read and answer, their problems, and the document made of them."""
