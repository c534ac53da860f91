"""`clorad experiment`: trains agents on rewards that can be computed, several experiments at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.author import this_user
from daemon.cli.context import AsJson, Context, settings_of

app = typer.Typer(
    help="Train agents on computed rewards, several at once, on the roles that run here.",
    no_args_is_help=True,
)


@app.command("run")
def run(
    context: Context,
    file: Annotated[Path, typer.Argument(help="The experiments, as examples/experiments/README.md says.")],
    at_once: Annotated[
        int | None, typer.Option(help="Experiments at once; as the file says if not given.", min=1, max=64)
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(help="URL of the gateway; this machine's if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the experiments of a file to their ends, or go on with them where they were."""
    from daemon.commands.experiments import running

    options = running.RunOptions(at_once=at_once, gateway=gateway, by=this_user())
    sys.exit(running.run(settings_of(context), file, options, as_json=as_json))


@app.command("list")
def list_experiments(context: Context, as_json: AsJson = False) -> None:
    """Show the experiments whose results are here."""
    from daemon.commands.experiments import listing

    listing.show(settings_of(context), as_json=as_json)


@app.command("stop")
def stop(context: Context, name: str) -> None:
    """Let a running experiment end after its step; `run` goes on with it later."""
    from daemon.commands.experiments import listing

    typer.echo(listing.stop(settings_of(context), name))


@app.command("promote")
def promote(
    context: Context,
    name: str,
    agent: Annotated[str, typer.Option(help="The agent that gets the experiment's last version.")],
    reason: Annotated[str, typer.Option(help="Kept with the version: what the experiment showed.")],
    by: Annotated[str | None, typer.Option(help="Who decides; the user running this if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the version that an experiment ended with a candidate of an agent, whose gate judges it.

    Agent and experiment must have the same base, rank and targets. Nothing serves before the gate's verdict.
    """
    from daemon.commands.experiments import promoting
    from daemon.console import show_json

    done = promoting.promote(settings_of(context), name, agent=agent, by=by or this_user(), reason=reason)
    if as_json:
        show_json(done)
    else:
        typer.echo(promoting.sentence(done))
