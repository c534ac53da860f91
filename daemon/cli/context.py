"""What all commands share: the settings file named before the command, and `--json`."""

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode

if TYPE_CHECKING:
    from daemon.settings import Settings

Context = typer.Context

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]

NUMBER_MAX = 2**63 - 1
"""The largest number that the ledger can store."""


def settings_of(context: Context) -> "Settings":
    """The settings for this command. Raises `CommandFailed` if they cannot be used."""
    from daemon.settings_file import SettingsRefused, read_settings

    try:
        return read_settings(context.obj)
    except SettingsRefused as refusal:
        raise CommandFailed(str(refusal), ExitCode.CHANGE_NEEDED) from None
