"""`clorad ledger backup | restore | check`: copies of the ledger, and whether it or a copy of it is sound."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from daemon.commands.ledger import opened, reading
from daemon.console import CommandFailed, count, moment
from daemon.settings import Settings
from ledger.errors import NoCopy, RestoreRefused
from ledger.reports.audit import audit
from ledger.upkeep import backup, copies
from ledger.upkeep.backup import LedgerProgress
from ledger.upkeep.erasures import all_erasures


def check(settings: Settings) -> str:
    """Raises `CommandFailed` where the ledger has not exactly this version's tables, is damaged, or disagrees
    with itself about what became of an offset."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from ledger.schema import metadata

    with reading(settings) as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    if differences:
        raise CommandFailed(
            f"the ledger's schema differs in {len(differences)} places; run `clorad ledger migrate`"
        )
    _check_sound(settings)
    return "the ledger's schema is the one this version needs; the ledger is sound"


def back_up(settings: Settings, file: Path) -> str:
    """`file` holds the ledger as of now, checked. Returns what was done, for a person."""
    with opened(settings):
        pass  # refuses where there is none
    try:
        standing = backup.back_up(settings.ledger.url, file)
    except NoCopy as fault:
        raise CommandFailed(f"no backup was made: {fault}") from None
    return f"{file}: ledger {standing.ledger_id or 'without an id'}, {_told(standing)}"


def restore(settings: Settings, file: Path, *, force: bool) -> str:
    """The ledger is what `file` holds. Returns what was done, for a person."""
    replaced = file.with_name(f"{file.name}.replaced-{time.strftime('%Y%m%dT%H%M%S')}")
    try:
        standing = backup.restore(settings.ledger.url, file, replaced=replaced, force=force)
    except RestoreRefused as refusal:
        raise CommandFailed(f"not restored: {refusal} (--force restores all the same)") from None
    except NoCopy as fault:
        raise CommandFailed(f"not restored: {fault}") from None
    was = f"; what it was is in {replaced}" if replaced.exists() else ""
    with reading(settings) as connection:
        undone = [one for one in all_erasures(connection) if one.finished_s is None]
    again = f"; {count(len(undone), 'erasure')} undone: ask for them again (`clorad audit`)" if undone else ""
    return f"restored: {_told(standing)}; Kafka is read again from there{was}{again}"


def check_file(file: Path) -> str:
    """Raises `CommandFailed` where a backup is damaged or holds no ledger."""
    try:
        copies.check(file)
        known = copies.facts(file)
    except NoCopy as fault:
        raise CommandFailed(str(fault)) from None
    return f"{file}: sound, ledger {known.get('ledger_id', 'without an id')}, schema {known['revision']}"


def _check_sound(settings: Settings) -> None:
    """Pages and references of an SQLite ledger; Postgres checks its own. Offsets and rows of both."""
    if copies.is_sqlite(settings.ledger.url):
        with closing(sqlite3.connect(copies.path_of(settings.ledger.url))) as connection:
            try:
                copies.check_pages(connection)
            except (NoCopy, sqlite3.Error) as fault:
                raise CommandFailed(f"the ledger is damaged ({fault}); restore a backup") from None
    with reading(settings) as connection:
        wrong = audit(connection).disagreements
    if wrong:
        raise CommandFailed(
            f"the ledger disagrees with itself in {len(wrong)} places; `clorad audit` has them"
        )


def _told(standing: LedgerProgress) -> str:
    return f"{standing.next_offsets:,} offsets accounted for, the last at {moment(standing.kept_s or None)}"
