"""`clorad versions`: an agent's name shows its versions; `prune` makes room in the adapter store."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from daemon.cli.context import AsJson, Context, settings_of


class _ShowsByDefault(TyperGroup):
    """What is no command is the name of an agent: `clorad versions billing`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = {*self.commands, "-h", "--help"}
        return super().parse_args(ctx, args if args and args[0] in named else ["show", *args])


app = typer.Typer(
    cls=_ShowsByDefault,
    help="An agent's versions: verdict, evidence, events and people that taught them.",
)


@app.command("show")
def show(context: Context, agent: str, as_json: AsJson = False) -> None:
    """An agent's versions; `clorad versions AGENT` does the same."""
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
    """Remove the directories of versions that nobody needs, and what killed learners left behind.

    What serves, is wanted on a replica, has no verdict yet or is a turn's parent stays. The ledger goes on
    knowing all versions; `rollback` and `replay` say of pruned ones that their files are gone.
    """
    from daemon.commands import pruning

    pruning.prune(settings_of(context), agent=agent, keep=keep, dry_run=dry_run, as_json=as_json)
