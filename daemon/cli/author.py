"""The name of the user who runs a command: the author of decisions and feedback if no other is given."""

import getpass
import os


def this_user() -> str:
    """The login name, or `uid-` and the user's number if it has no name (in containers)."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid-{os.getuid()}"
