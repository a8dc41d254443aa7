"""What providers of several channels share. Nothing but they imports it, so that no other function loads it."""
