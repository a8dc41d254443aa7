"""What happened, as events; and the log lines, metrics and spans that are made of them."""
