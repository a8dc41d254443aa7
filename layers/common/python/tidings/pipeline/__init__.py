"""What happens to a notification: intake, delivery, settlement, retry, replay, the sweep."""
