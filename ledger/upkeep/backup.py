"""Backs the ledger up and restores it. Offsets go back with the ledger, so intake reads Kafka again from
there.

Some numbers must never go back: fencing tokens, the routing generation and ids of messages continue from the
larger number of both ledgers. Erasures since the backup are recorded as undone. The restore itself is
recorded, so that running processes notice it.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, func, insert, inspect, select, text, update

from ledger import leases
from ledger.database import Database, now_s
from ledger.errors import LedgerDamaged, LedgerRefused, LedgerUnavailable, NoCopy, RestoreRefused
from ledger.facts import RESTORES, fact, restores, set_fact
from ledger.revisions import known_revisions, refuse_newer, revision_of, upgrade
from ledger.schema import leases as lease_rows
from ledger.schema import outbox, positions
from ledger.topic_names import LIFECYCLE_TOPIC
from ledger.upkeep import copies
from ledger.upkeep.erasures import Erasure, all_erasures, carry_over
from ledger.versions.desired import GENERATION, generation


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerProgress:
    """The ledger's id, and how far it has read Kafka."""

    ledger_id: str
    next_offsets: int  # the sum over all partitions
    kept_s: float  # when a record was last stored; 0 if never


@dataclass(frozen=True, slots=True, kw_only=True)
class _Floors:
    """Numbers of the replaced ledger that the restored one must not fall below."""

    tokens: Mapping[str, int] = field(default_factory=dict)
    outbox_id: int = 0
    generation: int = 0
    restores: int = 0
    erasures: tuple[Erasure, ...] = ()


def back_up(url: str, file: Path) -> LedgerProgress:
    """Write the ledger to `file` and check the file. Returns the progress that the file has at least.

    The ledger may have any schema: people back it up before they migrate it.

    Raises `NoCopy`, `LedgerUnavailable`.
    """
    with closing(Database(url)) as database, database.read() as connection:
        progress = _progress(connection)
    copies.write(url, file)
    return progress


def restore(url: str, file: Path, *, replaced: Path, force: bool = False) -> LedgerProgress:
    """Replace the ledger by the backup in `file`, at the newest schema. `replaced` is then the old ledger.

    Raises `RestoreRefused` if a process holds a lease or `file` is of another ledger, unless `force`.
    Raises `NoCopy` if `file` is not sound, a newer clorad made it, or the ledger cannot be replaced. Either
    leaves the ledger unchanged.
    """
    copies.check(file)
    if copies.is_dump(file) is copies.is_sqlite(url):
        raise NoCopy(f"{file.name} is of another kind of database than ledger.url")
    try:
        refuse_newer(copies.facts(file)["revision"], file.name)
    except LedgerRefused as refusal:
        raise NoCopy(str(refusal)) from None
    floors = _Floors()
    if _exists(url):
        floors = _floors_of_present(url, file, force=force)
        copies.write(url, replaced)
    if copies.is_sqlite(url):
        _restore_sqlite(url, file, floors)
    else:
        _restore_postgres(url, file, floors)
    with closing(Database(url)) as database, database.read() as connection:
        return _progress(connection)


def _restore_sqlite(url: str, file: Path, floors: _Floors) -> None:
    """Prepare a copy of the backup first, so that the ledger changes in one transaction."""
    path = copies.path_of(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".restore-", dir=path.parent) as folder:
            draft = Path(folder) / "ledger.db"
            copies.read(file, draft)
            with closing(Database(copies.url_of(draft))) as database, database.write() as connection:
                _prepare(connection, floors)
            copies.read(draft, path)
    except OSError as fault:
        raise NoCopy(f"{path.name}: {fault.strerror or type(fault).__name__}") from None
    except LedgerRefused as refusal:
        raise NoCopy(f"{file.name}: {refusal}") from None


def _restore_postgres(url: str, file: Path, floors: _Floors) -> None:
    """Load the dump and prepare it in one transaction."""
    try:
        with closing(Database(url)) as database, database.write() as connection:
            copies.read_dump(file, connection)
            _prepare(connection, floors)
    except LedgerUnavailable as fault:
        raise NoCopy(f"the ledger is away, or in use ({fault})") from None
    except LedgerRefused as refusal:
        raise NoCopy(f"{file.name}: {refusal}") from None


def _prepare(connection: Connection, floors: _Floors) -> None:
    """Bring the restored ledger to the newest schema and its numbers above the floors; record the restore."""
    upgrade(connection)
    restored_tokens = _tokens(connection)
    connection.execute(update(lease_rows).values(until_s=0.0))
    for name, token in floors.tokens.items():
        values = {"token": max(token, restored_tokens.get(name, 0)) + 1, "until_s": 0.0}
        if name in restored_tokens:
            connection.execute(update(lease_rows).where(lease_rows.c.name == name).values(**values))
        else:
            connection.execute(insert(lease_rows).values(name=name, holder="", **values))
    count = max(floors.restores, restores(connection)) + 1
    set_fact(connection, RESTORES, count)
    set_fact(connection, GENERATION, max(floors.generation, generation(connection)) + 1)
    now, progress = now_s(connection), _progress(connection)
    body = {"ledger": "restored", "kept": progress.kept_s, "at": now, "restores": count}
    newest = int(connection.scalar(select(func.max(outbox.c.id))) or 0)
    connection.execute(
        insert(outbox).values(
            id=max(floors.outbox_id, newest) + 1,
            topic=LIFECYCLE_TOPIC,
            key=b"ledger",
            value=json.dumps(body).encode(),
            headers=[],
            created_s=now,
        )
    )
    carry_over(connection, floors.erasures)
    if connection.dialect.name == "postgresql":
        for table in ("outbox", "erasures"):
            numbers = f"pg_get_serial_sequence('{table}', 'id')"
            connection.execute(text(f"SELECT setval({numbers}, max(id)) FROM {table}"))


def _erasures(connection: Connection) -> tuple[Erasure, ...]:
    """All erasures; none if the ledger is older than their table."""
    return tuple(all_erasures(connection)) if inspect(connection).has_table("erasures") else ()


def _tokens(connection: Connection) -> dict[str, int]:
    return {row.name: row.token for row in connection.execute(select(lease_rows.c.name, lease_rows.c.token))}


def _exists(url: str) -> bool:
    """Whether there is a ledger at the URL. Raises `NoCopy` if there is something else."""
    if copies.is_sqlite(url) and not copies.path_of(url).exists():
        return False
    try:
        with closing(Database(url)) as database, database.read() as connection:
            tables = set(inspect(connection).get_table_names())
    except LedgerDamaged as damage:
        raise NoCopy(str(damage)) from None
    except LedgerRefused:
        raise NoCopy("what is at ledger.url cannot be read; move it away first") from None
    if tables and "facts" not in tables:
        raise NoCopy("what is at ledger.url is no ledger; move it away first")
    return bool(tables)


def _floors_of_present(url: str, file: Path, *, force: bool) -> _Floors:
    """The floors of the present ledger. Raises `RestoreRefused` if it may not be replaced."""
    try:
        with closing(Database(url)) as database, database.read() as connection:
            _refuse_leftovers(connection)
            holder_by_lease = leases.held_names(connection)
            ledger_id = fact(connection, "ledger_id") or ""
            floors = _Floors(
                tokens=_tokens(connection),
                outbox_id=int(connection.scalar(select(func.max(outbox.c.id))) or 0),
                generation=generation(connection),
                restores=restores(connection),
                erasures=_erasures(connection),
            )
    except LedgerUnavailable as fault:
        raise NoCopy(f"what is at ledger.url cannot be read ({fault}); move it away first") from None
    except LedgerDamaged as damage:
        raise NoCopy(str(damage)) from None
    except LedgerRefused:
        raise NoCopy("what is at ledger.url cannot be read; move it away first") from None
    if holder_by_lease and not force:
        holders = ", ".join(sorted(set(holder_by_lease.values())))
        raise RestoreRefused(f"roles are running ({holders}); stop them first")
    if ledger_id not in ("", copies.facts(file).get("ledger_id", "")) and not force:
        raise RestoreRefused(f"{file.name} is a backup of another ledger")
    return floors


def _refuse_leftovers(connection: Connection) -> None:
    """Raises `NoCopy` on Postgres if a newer clorad made tables that a restore would leave there.

    An SQLite file is replaced whole.
    """
    revision = revision_of(connection)
    if connection.dialect.name == "postgresql" and revision not in (None, *known_revisions()):
        raise NoCopy(
            f"the database at ledger.url has schema {revision}, this clorad knows up to"
            f" {known_revisions()[-1]}: restore into an empty database"
        )


def _progress(connection: Connection) -> LedgerProgress:
    query = select(func.sum(positions.c.next_offset), func.max(positions.c.updated_s))
    offsets, kept_s = connection.execute(query).one()
    return LedgerProgress(
        ledger_id=fact(connection, "ledger_id") or "",
        next_offsets=int(offsets or 0),
        kept_s=float(kept_s or 0.0),
    )
