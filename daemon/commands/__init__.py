"""What each command does; `daemon.cli` is the surface. Heavy imports stay in the command that needs them."""
