"""Every exit code of `clorad` and of its roles, with its meaning. No other module has such a number.

75 and 78 are those of sysexits(3). deploy/RUNBOOK.md says what to do about each.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Why a command or a role ended."""

    DONE = 0
    """The command did what was asked; the role was asked to stop."""
    FAILED = 1
    """The command was refused or could not answer. A role met a fault: it is safe to start it again."""
    USAGE = 2
    """The command line cannot be understood; typer ends with it too."""
    TRY_AGAIN = 75
    """The ledger, Kafka or another process prevents it now; the same command may succeed later."""
    CHANGE_NEEDED = 78
    """Starting it again cannot help: a person has to change the settings, the ledger or the machine."""
    INTERRUPTED = 130
    """The person interrupted the command (Ctrl-C)."""
