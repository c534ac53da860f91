"""Turns events into episodes: pure functions, no input or output."""
