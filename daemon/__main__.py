"""`python -m daemon`: the same as `clorad`."""

from daemon import __version__  # fails at once where another package of this name shadows ours
from daemon.cli.app import main

assert __version__
main()
