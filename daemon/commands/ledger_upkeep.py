"""`clorad ledger …`: creates the ledger, checks it, backs it up, restores it, and shows its size."""

import time
from pathlib import Path
from typing import Any

from daemon.commands.ledger import opened, reading, require_file
from daemon.console import CommandFailed, byte_size, console, count, moment, show_json, table
from daemon.settings import Settings
from daemon.terminal.progress import working
from daemon.upkeep import pruning
from engine import adapter_store
from ledger.database import Database
from ledger.errors import LedgerRefused, NoCopy, RestoreRefused
from ledger.files import without_password
from ledger.learning.agents import all_agents
from ledger.reports import sizes
from ledger.reports.audit import audit
from ledger.reports.sizes import LedgerSize
from ledger.revisions import known_revisions, refuse_newer, schema_differences
from ledger.upkeep import backup, compaction, copies, retention
from ledger.upkeep.backup import LedgerProgress
from ledger.upkeep.erasures import all_erasures

KEEP = 5
"""Versions of each champion's lineage that `clorad versions prune` keeps without `--keep`."""


def migrate(settings: Settings) -> str:
    """Create the ledger, or bring it to the newest schema. Returns a sentence for people."""
    database = Database(settings.ledger.url)
    try:
        with working("bringing the ledger to the newest schema"):
            database.migrate()
    finally:
        database.close()
    return f"ledger at the newest schema: {without_password(settings.ledger.url)}"


def check(settings: Settings) -> str:
    """Check the ledger. Returns a sentence for people.

    Raises `CommandFailed` if its tables are not exactly those of this version, if it is damaged, or if its
    audit disagrees.
    """
    with reading(settings) as connection:
        differences = schema_differences(connection)
    if differences:
        raise CommandFailed(
            f"the ledger's schema differs in {differences} places; run `clorad ledger migrate`"
        )
    with working("checking the ledger"):
        _check_sound(settings)
    return "the ledger's schema is the one this version needs; the ledger is sound"


def back_up(settings: Settings, file: Path) -> str:
    """Write the ledger to `file` and check the file. Returns a sentence for people."""
    require_file(settings)
    try:
        with working(f"writing {file}"):
            progress = backup.back_up(settings.ledger.url, file)
    except NoCopy as fault:
        raise CommandFailed(f"no backup was made: {fault}") from None
    return f"{file}: ledger {progress.ledger_id or 'without an id'}, {_progress_line(progress)}"


def restore(settings: Settings, file: Path, *, force: bool) -> str:
    """Replace the ledger by the backup in `file`, and keep the old one beside it. Returns a sentence."""
    replaced = file.with_name(f"{file.name}.replaced-{time.strftime('%Y%m%dT%H%M%S')}")
    try:
        with working(f"restoring {file}"):
            progress = backup.restore(settings.ledger.url, file, replaced=replaced, force=force)
    except RestoreRefused as refusal:
        raise CommandFailed(f"not restored: {refusal} (--force restores all the same)") from None
    except NoCopy as fault:
        raise CommandFailed(f"not restored: {fault}") from None
    before = f"; the replaced ledger is in {replaced}" if replaced.exists() else ""
    with reading(settings) as connection:
        undone = [erasure for erasure in all_erasures(connection) if erasure.finished_s is None]
    again = f"; {count(len(undone), 'erasure')} undone: ask for them again (`clorad audit`)" if undone else ""
    return f"restored: {_progress_line(progress)}; Kafka is read again from there{before}{again}"


def check_file(file: Path) -> str:
    """Check a backup. Returns a sentence for people. Raises `CommandFailed` if it is damaged or no ledger."""
    try:
        copies.check(file)
        facts = copies.facts(file)
        refuse_newer(facts["revision"], file.name)
    except (NoCopy, LedgerRefused) as refusal:
        raise CommandFailed(str(refusal)) from None
    ledger_id, newest = facts.get("ledger_id", "without an id"), known_revisions()[-1]
    update = "" if facts["revision"] == newest else f"; restoring it updates it to {newest}"
    return f"{file}: sound, ledger {ledger_id}, schema {facts['revision']}{update}"


def vacuum(settings: Settings) -> str:
    """Rewrite the ledger's files without deleted rows. Returns a sentence for people."""
    with opened(settings) as database:
        before = _database_bytes(database)
        with working("rewriting the ledger"):
            compaction.rewrite(settings.ledger.url)
        after = _database_bytes(database)
    return f"rewritten: {byte_size(before)} before, {byte_size(after)} now"


def show_size(settings: Settings, *, as_json: bool) -> None:
    """Print rows and bytes by table, and how much retention and pruning would delete."""
    days = settings.ledger.interactions_days
    with opened(settings) as database, working("reading all rows"):
        with database.read() as connection:
            agents = sorted(all_agents(connection))
            ledger_size = sizes.ledger_size(
                connection, interactions_s_max=days * retention.DAY_S if days else None
            )
        document = {**ledger_size.to_json(), **_store_json(database, settings, agents, ledger_size)}
    if as_json:
        show_json(document)
    else:
        _render_size(document, days)


def _store_json(
    database: Database, settings: Settings, agents: list[str], ledger_size: LedgerSize
) -> dict[str, Any]:
    """The size of the adapter store, and how much would be deleted there and in the ledger."""
    store = settings.store.path
    paths = [folder.path for agent in agents for folder in adapter_store.folders(store, agent)]
    prunable = pruning.prunable_folders(database, store, agents, keep=KEEP) if store.is_dir() else []
    prunable_bytes = sum(folder.size_bytes for folder in prunable)
    return {
        "store": {"directories": len(paths), "size_bytes": sum(map(adapter_store.size_bytes, paths))},
        "would_go": {
            "interactions": ledger_size.interactions_to_delete.to_json(),
            "directories": {"rows": len(prunable), "size_bytes": prunable_bytes},
        },
    }


def _render_size(document: dict[str, Any], days: int) -> None:
    rows = table("KIND", ">ROWS", ">TEXTS")
    for kind, size in document["kinds"].items():
        rows.add_row(kind.replace("_", " "), f"{size['rows']:,}", byte_size(size["size_bytes"]))
    store, interactions = document["store"], document["would_go"]["interactions"]
    prunable = document["would_go"]["directories"]
    kept = f"{days} days, ledger.interactions_days" if days else "for ever: ledger.interactions_days is 0"
    out = console()
    out.print(rows)
    out.print(f"database: {byte_size(document['database_bytes'])}")
    out.print(
        f"adapter store: {count(store['directories'], 'directory', 'directories')},"
        f" {byte_size(store['size_bytes'])}"
    )
    out.print(
        f"would go: {count(interactions['rows'], 'interaction')},"
        f" {byte_size(interactions['size_bytes'])} (after {kept})"
    )
    out.print(
        f"would go: {count(prunable['rows'], 'directory', 'directories')},"
        f" {byte_size(prunable['size_bytes'])} (`clorad versions prune`)"
    )


def _database_bytes(database: Database) -> int:
    with database.read() as connection:
        return sizes.database_bytes(connection)


def _check_sound(settings: Settings) -> None:
    """Check pages and references of an SQLite ledger (Postgres checks its own), and audit either kind."""
    try:
        copies.check_ledger(settings.ledger.url)
    except NoCopy as fault:
        raise CommandFailed(f"the ledger is damaged ({fault}); restore a backup") from None
    with reading(settings) as connection:
        disagreements = audit(connection).disagreements
    if disagreements:
        places = count(len(disagreements), "place")
        raise CommandFailed(f"the ledger disagrees with itself in {places}; `clorad audit` lists them")


def _progress_line(progress: LedgerProgress) -> str:
    return f"{progress.next_offsets:,} offsets accounted for, the last at {moment(progress.kept_s or None)}"
