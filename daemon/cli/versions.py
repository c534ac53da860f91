"""`clorad versions`: shows the versions of an agent; `prune` deletes directories of the adapter store."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from daemon.cli.context import AsJson, Context, settings_of


class _ShowsByDefault(TyperGroup):
    """Reads a word that is no command as an agent's name: `clorad versions billing`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        commands = {*self.commands, "-h", "--help"}
        return super().parse_args(ctx, args if args and args[0] in commands else ["show", *args])


app = typer.Typer(
    cls=_ShowsByDefault,
    help="Show an agent's versions: verdict, evidence, and the events and people that they learned from.",
)


@app.command("show")
def show(context: Context, agent: str, as_json: AsJson = False) -> None:
    """Show an agent's versions; `clorad versions AGENT` does the same."""
    from daemon.commands import versions

    versions.show_versions(settings_of(context), agent, as_json=as_json)


@app.command("prune")
def prune(
    context: Context,
    agent: Annotated[str | None, typer.Option(help="Only this agent; all agents if not given.")] = None,
    keep: Annotated[
        int,
        typer.Option(help="Versions of the champion's lineage to keep, for rollbacks.", min=1, max=10_000),
    ] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove directories of versions that are no longer needed, and drafts of learners that were killed.

    A version stays if it serves, if a replica should hold it, if it has no verdict yet, or if it is the
    parent of a turn. The ledger keeps the rows of all versions; `rollback` and `replay` say of a pruned
    version that its files are gone.
    """
    from daemon.commands import pruning

    pruning.prune(settings_of(context), agent=agent, keep=keep, dry_run=dry_run, as_json=as_json)
