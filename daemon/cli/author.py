"""Who runs this: the name decisions and feedback carry when none is given."""

import getpass
import os


def this_user() -> str:
    """The login name, or the user's number where it has none (containers)."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid-{os.getuid()}"
