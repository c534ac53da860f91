"""`clorad bridge`: turns what people do in other tools into events of feedback."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.context import AsJson, Context, settings_of

app = typer.Typer(help="Turn what people do in other tools into feedback.", no_args_is_help=True)


@app.callback()
def bridge() -> None:
    """Turn what people do in other tools into feedback."""


@app.command()
def run(context: Context) -> None:
    """Take annotations from the tools under [bridges] in the settings, until a signal stops it."""
    import sys

    from daemon.commands.running import run_one
    from daemon.process.role_names import BRIDGE

    sys.exit(run_one(BRIDGE, settings_of(context)))


@app.command()
def forget(
    context: Context,
    author: Annotated[str, typer.Option(help="Whose name is taken out.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Take an author out of the bridges' journals here: where they are on another machine than the ledger.

    The bridge may run meanwhile. `clorad forget` takes texts out of the ledger, and does this too.
    """
    from daemon.commands.bridging import journals

    journals.forget(settings_of(context), author, dry_run=dry_run)


@app.command()
def git(
    context: Context,
    repo: Annotated[Path, typer.Option(help="A clone; best a mirror, which has merged branches too.")],
    branch: Annotated[
        str | None, typer.Option(help="The branch that people merge into; what is checked out if not given.")
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            help="Only this agent's interactions, and those that were not captured as this agent's."
        ),
    ] = None,
    event: Annotated[
        Path | None,
        typer.Option(
            help="A webhook's payload of GitHub or GitLab: it names the branch, and what a squash became."
        ),
    ] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Run git fetch before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send what people changed in the lines of an agent's commits, and what they kept.

    A commit names its interaction in its message: Clorad-Interaction: ID. A second run sends the same events
    under the same ids, which count once.
    """
    from daemon.commands.bridging import git as bridging

    bridging.scan(
        settings_of(context),
        repo,
        branch=branch,
        agent=agent,
        payload=event,
        fetch=fetch,
        dry_run=dry_run,
        as_json=as_json,
    )
