"""Commands for those who run clorad: set-up, settings, dead letters, audit, replay, forgetting, self-test."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli.author import this_user
from daemon.cli.context import NUMBER_MAX, AsJson, Context, settings_of
from daemon.exit_codes import ExitCode

topics = typer.Typer(help="The topics on Kafka.", no_args_is_help=True)
ledger = typer.Typer(help="The ledger: make it, check it, back it up.", no_args_is_help=True)
engine = typer.Typer(help="The warm engine on this machine.", no_args_is_help=True)
letters = typer.Typer(help="Records that could not be used.", no_args_is_help=True)

Letter = Annotated[int, typer.Argument(help="Number of the letter.", max=NUMBER_MAX)]


def add_to(app: typer.Typer, *, ask: str, act: str, set_up: str) -> None:
    """Register these commands under their headings in the help."""
    app.add_typer(letters, name="dead-letters", rich_help_panel=ask)
    app.command("audit", rich_help_panel=ask)(audit)
    app.command("passes", rich_help_panel=ask)(passes)
    app.command("replay", rich_help_panel=ask)(replay)
    app.command("forget", rich_help_panel=act)(forget)
    app.add_typer(topics, name="topics", rich_help_panel=set_up)
    app.add_typer(ledger, name="ledger", rich_help_panel=set_up)
    app.add_typer(engine, name="engine", rich_help_panel=set_up)
    app.command("schema", rich_help_panel=set_up)(schema)
    app.command("config", rich_help_panel=set_up)(config)


@topics.command("create")
def topics_create(
    context: Context,
    partitions: Annotated[int, typer.Option(help="Of each new topic.", min=1)] = 6,
    replication: Annotated[int, typer.Option(help="Copies of each record.", min=1)] = 1,
) -> None:
    """Create the four topics, with settings under which nothing is lost. Existing topics are not changed.

    The exit code is not 0 if feedback may be lost under the settings of an existing topic.
    """
    from daemon.commands import broker

    settings = settings_of(context)
    created = broker.create_topics(settings, partitions=partitions, replication=replication)
    typer.echo(f"made {', '.join(created)}" if created else "all topics were there already")
    if not broker.check_topics(settings, replication=replication):
        raise typer.Exit(ExitCode.FAILED)


@ledger.command("migrate")
def ledger_migrate(context: Context) -> None:
    """Create the ledger, or bring its schema up to date. Roles do this when they start."""
    from daemon.commands import ledger_upkeep

    typer.echo(ledger_upkeep.migrate(settings_of(context)))


@ledger.command("check")
def ledger_check(
    context: Context,
    file: Annotated[Path | None, typer.Argument(help="A backup; the ledger itself if not given.")] = None,
) -> None:
    """Check that the ledger is sound and has the schema of this version, or that a backup is sound."""
    from daemon.commands import ledger_upkeep

    typer.echo(ledger_upkeep.check(settings_of(context)) if file is None else ledger_upkeep.check_file(file))


@ledger.command("backup")
def ledger_backup(context: Context, file: Annotated[Path, typer.Argument(help="It must not exist.")]) -> None:
    """Write the ledger to one file while the roles run, and check the file."""
    from daemon.commands import ledger_upkeep

    typer.echo(ledger_upkeep.back_up(settings_of(context), file))


@ledger.command("restore")
def ledger_restore(
    context: Context,
    file: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also while roles run, or over another ledger.")
    ] = False,
) -> None:
    """Replace the ledger by a backup, and keep the old one beside it. Intake reads Kafka again from there."""
    from daemon.commands import ledger_upkeep

    typer.echo(ledger_upkeep.restore(settings_of(context), file, force=force))


@ledger.command("size")
def ledger_size(context: Context, as_json: AsJson = False) -> None:
    """Show the size of ledger and adapter store by kind, and what retention would delete. Reads
    everything."""
    from daemon.commands import ledger_upkeep

    ledger_upkeep.show_size(settings_of(context), as_json=as_json)


@ledger.command("vacuum")
def ledger_vacuum(context: Context) -> None:
    """Rewrite the ledger without deleted and forgotten rows. Roles wait meanwhile; it may take minutes."""
    from daemon.commands import ledger_upkeep

    typer.echo(ledger_upkeep.vacuum(settings_of(context)))


@engine.command("selftest")
def engine_selftest(
    context: Context,
    device: Annotated[Literal["cpu", "cuda"] | None, typer.Option(help="Instead of `engine.device`.")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None, typer.Option(help="Instead of `engine.dtype`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the engine on the configured base: gradients against PEFT, isolation of agents, repeated
    passes."""
    from daemon.commands import engine

    engine.show_selftest(settings_of(context), device=device, dtype=dtype, as_json=as_json)


@letters.command("list")
def letters_list(
    context: Context,
    reason: Annotated[str | None, typer.Option(help="Only letters with this reason.")] = None,
    limit: Annotated[int, typer.Option(help="How many to list, the newest first.", min=1, max=100_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest dead letters."""
    from daemon.commands import dead_letters

    dead_letters.show_letters(settings_of(context), reason=reason, limit=limit, as_json=as_json)


@letters.command("show")
def letters_show(context: Context, letter: Letter, as_json: AsJson = False) -> None:
    """Show one dead letter whole, as it was after redaction."""
    from daemon.commands import dead_letters

    dead_letters.show_letter(settings_of(context), letter, as_json=as_json)


@letters.command("redrive")
def letters_redrive(
    context: Context,
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]…", help="Letters by number.", max=NUMBER_MAX)
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="All letters with this reason that were never redriven.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were never redriven.")] = False,
    limit: Annotated[
        int, typer.Option(help="How many to send at most, the oldest first.", min=1, max=1000)
    ] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to their topic again, after the cause was corrected."""
    from daemon.commands import dead_letters

    dead_letters.send_again(
        settings_of(context),
        ids or (),
        reason=reason,
        everything=everything,
        limit=limit,
        dry_run=dry_run,
        by=this_user(),
        as_json=as_json,
    )


def schema(
    name: Annotated[str, typer.Argument(metavar="TYPE", help="correction, intervention, outcome, …")],
) -> None:
    """Print the JSON Schema of one event type's data."""
    from daemon.console import CommandFailed, show_json
    from feedback import schemas

    try:
        show_json(schemas.schema(name))
    except ValueError as unknown:
        raise CommandFailed(str(unknown), code=ExitCode.USAGE) from None


def config(
    context: Context,
    check: Annotated[bool, typer.Option("--check", help="Only check that they can be used.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the settings in effect, with secrets masked."""
    from daemon.commands import settings

    read = settings_of(context)
    if check:
        from daemon.commands import broker
        from daemon.console import CommandFailed
        from daemon.roles.gateway import openness_fault

        broker.cluster(read)  # makes no connection, and refuses options that no client could use
        if (fault := openness_fault(read.gateway)) is not None:
            raise CommandFailed(fault, code=ExitCode.CHANGE_NEEDED)
        typer.echo("settings can be used")
    else:
        settings.show(read, as_json=as_json)


def audit(
    context: Context,
    verify: Annotated[bool, typer.Option("--verify", help="Read the topics again and compare.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the broker.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that every offset has exactly one disposition. The exit code is not 0 if anything disagrees."""
    from daemon.commands import audit

    audit.show_audit(settings_of(context), verify=verify, offline=offline, as_json=as_json)


def passes(
    context: Context,
    agent: Annotated[str | None, typer.Option(help="Only turns of this agent.")] = None,
    limit: Annotated[int, typer.Option(help="Passes, failures and delays at most.", min=1, max=1000)] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what learners did: passes, what did not come to serve, and how long corrections took."""
    from daemon.commands.training import passes

    passes.show_passes(settings_of(context), agent=agent, limit=limit, as_json=as_json)


def replay(
    context: Context,
    number: Annotated[int, typer.Argument(metavar="PASS", help="Number of the pass.", max=NUMBER_MAX)],
    as_json: AsJson = False,
) -> None:
    """Train a recorded pass again and compare the hashes. The exit code is not 0 if they differ."""
    from daemon.commands import engine

    engine.show_replay(settings_of(context), number, as_json=as_json)


def forget(
    context: Context,
    author: Annotated[str | None, typer.Option(help="Everything by one author.")] = None,
    event: Annotated[str | None, typer.Option(metavar="SOURCE#ID", help="One event.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Everything about one conversation.")] = None,
    reason: Annotated[str, typer.Option(help="Stored with the erasure; without names.")] = "",
    by: Annotated[
        str | None, typer.Option(help="Who decides; if not given, the user who runs the command.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove somebody's texts from the ledger for good, and list the versions that learned from them."""
    from daemon.commands import forgetting
    from daemon.console import CommandFailed

    if sum(name is not None for name in (author, event, conversation)) != 1:
        raise CommandFailed(
            "say whom or what: one of --author, --event and --conversation", code=ExitCode.USAGE
        )
    if not (reason.strip() or dry_run):
        raise CommandFailed("--reason is kept with the entry: say why", code=ExitCode.USAGE)
    forgetting.forget(
        settings_of(context),
        kind="author" if author is not None else "event" if event is not None else "conversation",
        name=author or event or conversation or "",
        by=by or this_user(),
        reason=reason,
        dry_run=dry_run,
        as_json=as_json,
    )
