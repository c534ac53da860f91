"""Commands that bring in feedback which people gave elsewhere: files of examples."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.author import this_user
from daemon.cli.context import AsJson, Context, settings_of


def add_to(app: typer.Typer, *, act: str) -> None:
    """Register these commands under their headings in the help."""
    app.command("import", rich_help_panel=act)(import_file)


def import_file(
    context: Context,
    file: Annotated[Path, typer.Argument(help="JSONL in OpenAI's fine-tuning or preference form.")],
    agent: Annotated[str, typer.Option(help="The agent that shall learn from it.")],
    author: Annotated[
        str | None, typer.Option(help="Whose examples they are; if not given, the user who runs the command.")
    ] = None,
    source: Annotated[str, typer.Option(help="CloudEvents source.")] = "clorad-import",
    approved: Annotated[
        bool,
        typer.Option("--approved", help="Conversations are the agent's own, and right as they are."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send the examples of a file as feedback. Imported again, they count once.

    The exit code is not 0 if lines could not be used; the others are sent.
    """
    from daemon.commands.sending.import_file import import_file
    from feedback.training_files import ImportOptions

    options = ImportOptions(
        agent=agent,
        author=author or this_user(),
        source=source,
        conversations="approvals" if approved else "corrections",
    )
    code = import_file(settings_of(context), file, options, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(code)
