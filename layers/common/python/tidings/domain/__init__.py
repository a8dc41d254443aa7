"""What a notification is: its states, channels, addresses, errors, and every time limit of its life."""
