"""What each command does. `daemon.cli` reads the command line; a command imports what is heavy itself."""
