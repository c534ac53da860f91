"""One way into the ledger: short transactions on SQLite (WAL, synchronous FULL) or Postgres.

`write()` takes the write lock at once, so two roles never find out at commit that they disagree.
Time is the database's: leases of two machines must not depend on two clocks.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection as Connection  # other stages name a transaction by it
from sqlalchemy import Engine, create_engine, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from ledger.errors import LedgerDamaged, LedgerRefused, LedgerUnavailable
from ledger.revisions import is_newest, load_alembic, upgrade

BUSY_MS_MAX = 5_000
"""How long a writer waits for the lock before it reports the ledger as unavailable."""

KEYS_MAX = 400
"""Keys that one query may look up. SQLite allows more bound values; its planner gets slow before."""

T = TypeVar("T")

_WRITE_LOCK = 0x636C6F72  # Postgres advisory lock: what BEGIN IMMEDIATE is to SQLite
_POSTGRES_SESSION = (
    f"SET lock_timeout = {BUSY_MS_MAX}",
    # A stopped process (SIGSTOP, a lost machine) must not keep the write lock.
    f"SET idle_in_transaction_session_timeout = {3 * BUSY_MS_MAX}",
)
_POSTGRES_CONNECT = {
    "connect_timeout": BUSY_MS_MAX // 1000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 3 * BUSY_MS_MAX,
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT: "is damaged", sqlite3.SQLITE_NOTADB: "is no SQLite database"}
_WHILE_CONNECTING = ("connection failed", "connection is bad", "connection timeout", "failed to resolve host")


class Database:
    """Transactions on the ledger. Threads and processes may share one URL freely."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = _engine(url)
        self.is_sqlite = self._engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction holding the write lock; commits at the end, rolls back on any exception.

        There is one writer at a time on either database, so what is read here stays true until the end.
        Raises `LedgerUnavailable` for every fault of the environment that may pass, `LedgerDamaged`.
        """
        with self._world_faults(), self._engine.connect() as connection, connection.begin():
            if not self.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(_WRITE_LOCK)))
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent snapshot to read from; nothing done in it is kept."""
        with self._world_faults(), self._engine.connect() as connection:
            if self.is_sqlite:
                connection = connection.execution_options(clorad_begin="DEFERRED")
            else:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            transaction = connection.begin()
            try:
                yield connection
            finally:
                transaction.rollback()

    def migrate(self) -> None:
        """Bring the schema up to date. Safe to run from several processes at once, and again.

        Most starts find it up to date, and need neither Alembic nor the lock. Raises `LedgerUnavailable`, and
        `LedgerRefused` where a newer clorad made the ledger.
        """
        self._make_folder()
        with self.read() as connection:
            if is_newest(connection):
                return
        load_alembic()  # before the lock is taken: other processes must not wait for that
        with self.write() as connection:
            upgrade(connection)

    def _make_folder(self) -> None:
        path = self._engine.url.database
        if self.is_sqlite and path and path != ":memory:":
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            except OSError as fault:
                raise LedgerUnavailable(type(fault).__name__) from None

    def close(self) -> None:
        """Drop pooled connections; the object can be used again afterwards."""
        self._engine.dispose()

    @contextmanager
    def _world_faults(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as fault:
            self._refuse_damage(fault.orig)
            if _is_no_ledger(fault):
                raise LedgerRefused(
                    "the database holds no ledger of this schema; "
                    "`clorad ledger migrate` makes or updates one"
                ) from None
            if isinstance(fault, OperationalError) or fault.connection_invalidated:
                raise LedgerUnavailable(_told(fault.orig)) from None
            raise
        except sqlite3.DatabaseError as fault:  # while connecting, before SQLAlchemy could wrap it
            self._refuse_damage(fault)
            if isinstance(fault, sqlite3.OperationalError):
                raise LedgerUnavailable(_told(fault)) from None
            raise

    def _refuse_damage(self, fault: BaseException | None) -> None:
        found = _DAMAGE.get(getattr(fault, "sqlite_errorcode", 0) & 0xFF)
        if found is not None:
            path = Path(str(self._engine.url.database)).absolute()
            raise LedgerDamaged(
                f"the ledger {path} {found}: stop the roles, move it away with its -wal and -shm, then"
                " `clorad ledger restore BACKUP`; `clorad ledger check FILE` tells whether a backup is sound"
            ) from None


def in_chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values, at most `KEYS_MAX` at a time: for `IN` of one query after another."""
    return (values[start : start + KEYS_MAX] for start in range(0, len(values), KEYS_MAX))


def now_s(connection: Connection) -> float:
    """Seconds since 1970 by the database's clock."""
    if connection.dialect.name == "sqlite":
        return float(connection.scalar(text("SELECT (julianday('now') - 2440587.5) * 86400.0")) or 0.0)
    return float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0.0)


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed,
            connect_args={"timeout": BUSY_MS_MAX / 1000, "check_same_thread": False},
            hide_parameters=True,  # what people wrote is in them, and errors are logged
        )
        event.listen(engine, "connect", _on_sqlite_connected)
        event.listen(engine, "begin", _on_sqlite_begun)
        return engine
    # pre_ping: a restarted Postgres must not cost the first transaction afterwards.
    engine = create_engine(parsed, pool_pre_ping=True, hide_parameters=True, connect_args=_POSTGRES_CONNECT)
    event.listen(engine, "connect", _on_postgres_connected)
    return engine


def _told(fault: BaseException | None) -> str:
    """What is wrong; in the driver's own words only while connecting, when it has nothing to quote yet."""
    name = getattr(fault, "sqlite_errorname", None) or type(fault).__name__
    said = " ".join(str(fault).split())[:300]
    return f"{name}: {said}" if said.startswith(_WHILE_CONNECTING) else str(name)


def _is_no_ledger(fault: DBAPIError) -> bool:
    """Whether tables or columns are missing."""
    if isinstance(fault.orig, sqlite3.DatabaseError):
        return str(fault.orig).startswith(("no such table", "no such column"))
    return getattr(fault.orig, "sqlstate", None) in ("42P01", "42703")  # undefined_table, undefined_column


def _on_sqlite_connected(connection: Any, _record: Any) -> None:
    # sqlite3's own implicit BEGIN would start DEFERRED transactions that fail at upgrade, not at start.
    connection.isolation_level = None
    _use_wal(connection)
    # secure_delete: what is forgotten must not lie about in the free space of pages.
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for its lock while a file changes over to WAL: who starts together tries again."""
    until_s = time.monotonic() + BUSY_MS_MAX / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise
            time.sleep(0.02)


def _on_postgres_connected(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        for statement in _POSTGRES_SESSION:
            cursor.execute(statement)
    connection.commit()


def _on_sqlite_begun(connection: Connection) -> None:
    mode = connection.get_execution_options().get("clorad_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")
