"""What a turn is made of: which events are due, in which parts, and what a retry changes."""
