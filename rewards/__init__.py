"""What it is worth: pure functions from events to episodes."""
