"""The work of each command. `daemon.cli` reads the command line; a command imports heavy modules itself."""
