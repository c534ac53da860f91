"""Commands that set an installation up and examine it."""

from typing import Annotated

import typer

from daemon.cli.context import AsJson, Context, settings_of


def add_to(app: typer.Typer, *, set_up: str) -> None:
    """Register these commands under their headings in the help."""
    app.command("doctor", rich_help_panel=set_up)(doctor)


def doctor(
    context: Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without the engine's self-test, which takes a minute.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine Kafka, ledger, store, base, replicas, keys and agents: what is wrong, where, and what to do.

    It writes nothing but an empty adapter, which every replica loads and unloads. The exit code is 1 if there
    is an error, and 0 where there are warnings only.
    """
    from daemon.commands.setup import doctor

    doctor.show(settings_of(context), context.obj, quick=quick, as_json=as_json)
