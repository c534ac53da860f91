"""`python -m daemon`: the same as `clorad`."""

from daemon import __version__  # fails here if Python has found another package called `daemon`
from daemon.cli.app import main

assert __version__
main()
