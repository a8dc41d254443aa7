"""What goes over the broker: the queues, the messages, and CloudEvents."""
