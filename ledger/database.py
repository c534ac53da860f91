"""Opens the ledger: short transactions on SQLite (WAL, synchronous FULL) or Postgres.

`write()` takes the write lock when it begins, so no commit fails because another role wrote meanwhile.
Times come from the database's clock: leases of two machines must not depend on two clocks.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection as Connection  # other stages name a transaction by it
from sqlalchemy import Engine, create_engine, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger.errors import LedgerDamaged, LedgerRefused, LedgerUnavailable
from ledger.files import file_of_sqlite, make_private, use_wal
from ledger.revisions import is_newest, load_alembic, upgrade

BUSY_MS_MAX = 5_000
"""Milliseconds that a writer waits for the lock before it reports the ledger as unavailable."""

MIGRATION_WAIT_MS_MAX = 60_000
"""Milliseconds that a migration waits for the lock. Roles that start together wait for the one that migrates,
which takes seconds on a busy machine and longer with a large ledger."""

KEYS_MAX = 400
"""Keys that one query may look up. SQLite allows more bound values, but its planner gets slow with them."""

T = TypeVar("T")

_WRITE_LOCK = 0x636C6F72  # advisory lock on Postgres, in the place of SQLite's BEGIN IMMEDIATE
_POSTGRES_LOCK = text(
    # In the transaction, not in the session: behind a pooler each transaction may have another session.
    "SELECT set_config('lock_timeout', :busy_ms, true),"
    # A process that stands still (SIGSTOP, a lost machine) must not keep the write lock.
    " set_config('idle_in_transaction_session_timeout', :idle_ms, true)"
)
_POSTGRES_CONNECT = {
    "connect_timeout": BUSY_MS_MAX // 1000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 3 * BUSY_MS_MAX,
    "prepare_threshold": None,  # a pooler may run the next transaction where the statement was never prepared
}
_PASSING = (
    "08",
    "25006",
    "25P03",
    "25P04",
    "26000",
    "28",
    "3D000",
    "40",
    "42P05",
    "53",
    "55",
    "57",
    "58",
    "72",
    "XX000",
)
"""SQLSTATEs, or the beginnings of them, of faults that pass or that an operator ends while roles wait.

08 connection, 25006 a stand-by, 25P03 and 25P04 time-outs, 26000 and 42P05 a pooler without the prepared
statement, 28 authentication, 3D000 no such database, 40 roll-backs, 53 resources, 55 locks, 57 shutdown,
58 the system, 72 an old snapshot, XX000 internal.
Source: PostgreSQL 17, appendix A.
"""
_NO_LEDGER = ("42P01", "42703", "3F000")  # undefined_table, undefined_column, invalid_schema_name
_NO_RIGHT = "42501"
_DAMAGED = ("XX001", "XX002")
_READ_ONLY = "25006"
_PRAGMAS = {
    "synchronous": ("FULL", 2),
    "foreign_keys": ("ON", 1),
    "temp_store": ("MEMORY", 2),
    "secure_delete": ("ON", 1),
}
"""What every SQLite connection is set to, and what SQLite answers then.

secure_delete: what is forgotten must not lie about in the free space of pages.
"""
_DAMAGE = {sqlite3.SQLITE_CORRUPT: "is damaged", sqlite3.SQLITE_NOTADB: "is no SQLite database"}
_NO_LEDGER_TEXT = "the database holds no ledger of this schema; `clorad ledger migrate` makes or updates one"
_WHILE_CONNECTING = ("connection failed", "connection is bad", "connection timeout", "failed to resolve host")


class Database:
    """Transactions on the ledger. Threads and processes may share one URL freely."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = _engine(url)
        self.is_sqlite = self._engine.dialect.name == "sqlite"

    @contextmanager
    def write(self, *, wait_ms_max: int | None = None) -> Iterator[Connection]:
        """One transaction that has the write lock. It commits at the end, and rolls back on any exception.

        Either database has one writer at a time, so nothing that it reads changes before it ends. It
        waits for the lock for `wait_ms_max` milliseconds, or for `BUSY_MS_MAX`.
        Raises `LedgerUnavailable` for every fault of the environment that may pass, and `LedgerDamaged`.
        """
        wait_ms = BUSY_MS_MAX if wait_ms_max is None else wait_ms_max
        with self._world_faults(writing=True), self._engine.connect() as connection:
            connection.execution_options(clorad_wait_ms=wait_ms)
            with connection.begin():
                if not self.is_sqlite:
                    limits = {"busy_ms": str(wait_ms), "idle_ms": str(3 * BUSY_MS_MAX)}
                    connection.execute(_POSTGRES_LOCK, limits)
                    connection.execute(select(func.pg_advisory_xact_lock(_WRITE_LOCK)))
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent snapshot to read from; changes in it are rolled back."""
        with self._world_faults(writing=False), self._engine.connect() as connection:
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
        """Bring the schema up to date. Several processes may call this at once, and again.

        If the schema is up to date, as at most starts, neither Alembic nor the lock is needed. Raises
        `LedgerUnavailable`, and `LedgerRefused` if a newer clorad made the ledger.
        """
        self._make_file()
        with self.read() as connection:
            if is_newest(connection):
                return
        load_alembic()  # before the lock is taken: other processes must not wait for the import
        with self.write(wait_ms_max=MIGRATION_WAIT_MS_MAX) as connection:
            upgrade(connection)

    def _make_file(self) -> None:
        path = self._file() if self.is_sqlite else None
        if path is not None:
            try:
                make_private(path)
            except OSError as fault:
                raise LedgerUnavailable(type(fault).__name__) from None

    def _file(self) -> Path | None:
        """The SQLite file; None if the ledger is in memory."""
        return file_of_sqlite(str(self._engine.url.database or ""))

    def close(self) -> None:
        """Close pooled connections. The object can be used again afterwards."""
        self._engine.dispose()

    @contextmanager
    def _world_faults(self, *, writing: bool) -> Iterator[None]:
        """Faults of the environment become exceptions of the ledger; ours pass as they are."""
        try:
            yield
        except DBAPIError as fault:
            self._refuse_damage(fault.orig)
            if self.is_sqlite:
                self._raise_sqlite_fault(fault)
            else:
                self._raise_postgres_fault(fault, writing=writing)
            raise
        except PoolTimeout:
            raise LedgerUnavailable("all connections of this process are in use") from None
        except sqlite3.DatabaseError as fault:  # while connecting, before SQLAlchemy could wrap it
            self._refuse_damage(fault)
            if isinstance(fault, sqlite3.OperationalError):
                raise LedgerUnavailable(_fault_name(fault)) from None
            raise

    def _raise_sqlite_fault(self, fault: DBAPIError) -> None:
        if str(fault.orig).startswith(("no such table", "no such column")):
            raise LedgerRefused(_NO_LEDGER_TEXT) from None
        if isinstance(fault, OperationalError) or fault.connection_invalidated:
            raise LedgerUnavailable(_fault_name(fault.orig)) from None

    def _raise_postgres_fault(self, fault: DBAPIError, *, writing: bool) -> None:
        """By SQLSTATE: the driver's classes do not tell what passes from what does not."""
        sqlstate = getattr(fault.orig, "sqlstate", None)
        if sqlstate is None:  # the connection failed or broke: no server said why
            if isinstance(fault, OperationalError) or fault.connection_invalidated:
                raise LedgerUnavailable(_fault_name(fault.orig)) from None
        elif sqlstate in _NO_LEDGER:
            raise LedgerRefused(_NO_LEDGER_TEXT) from None
        elif sqlstate in _DAMAGED:
            raise LedgerDamaged(f"Postgres finds its data damaged ({_fault_name(fault.orig)})") from None
        elif sqlstate == _NO_RIGHT:
            raise LedgerRefused(
                f"the user of ledger.url lacks a right ({_fault_name(fault.orig)}):"
                " deploy/postgres has the grants"
            ) from None
        elif sqlstate == _READ_ONLY and not writing:
            return  # `read` asked for a transaction that cannot write
        elif sqlstate.startswith(_PASSING):
            # After a fail-over, pooled connections may lead to a server that is a stand-by now.
            self._engine.dispose()
            raise LedgerUnavailable(_fault_name(fault.orig)) from None

    def _refuse_damage(self, fault: BaseException | None) -> None:
        damage = _DAMAGE.get(getattr(fault, "sqlite_errorcode", 0) & 0xFF)
        if damage is not None:
            raise LedgerDamaged(
                f"the ledger {self._file()} {damage}: stop the roles, move it away with its -wal and -shm,"
                " then `clorad ledger restore BACKUP`; `clorad ledger check FILE` tells if a backup is sound"
            ) from None


def in_chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in parts of at most `KEYS_MAX`, each for the `IN` of one query."""
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
            hide_parameters=True,  # they hold what people wrote, and errors are logged
        )
        event.listen(engine, "connect", _on_sqlite_connected)
        event.listen(engine, "begin", _on_sqlite_begun)
        return engine
    # pre_ping: a restarted Postgres must not cost the first transaction afterwards.
    engine = create_engine(parsed, pool_pre_ping=True, hide_parameters=True, connect_args=_POSTGRES_CONNECT)
    event.listen(engine, "checkin", _on_postgres_returned)
    return engine


def _fault_name(fault: BaseException | None) -> str:
    """The name of the fault, with the driver's text only while connecting: later ones may quote rows."""
    name = getattr(fault, "sqlite_errorname", None) or type(fault).__name__
    if sqlstate := getattr(fault, "sqlstate", None):
        name = f"{sqlstate} {name}"
    message = " ".join(str(fault).split())[:300]
    return f"{name}: {message}" if message.startswith(_WHILE_CONNECTING) else str(name)


def _on_sqlite_connected(connection: Any, _record: Any) -> None:
    # The implicit BEGIN of sqlite3 is DEFERRED: such a transaction fails at its first write, not at its
    # start.
    connection.isolation_level = None
    use_wal(connection, wait_s_max=BUSY_MS_MAX / 1000)
    for pragma, (value, expected) in _PRAGMAS.items():
        connection.execute(f"PRAGMA {pragma}={value}")
        granted = connection.execute(f"PRAGMA {pragma}").fetchone()
        if granted is None or granted[0] != expected:
            raise LedgerRefused(f"this build of SQLite does not grant PRAGMA {pragma}={value}: use another")


def _on_postgres_returned(connection: Any, _record: Any) -> None:
    # After `read`, SQLAlchemy leaves False: BEGIN READ WRITE, which overrules a server that is read-only.
    if connection is not None and not connection.closed:
        connection.read_only = None


def _on_sqlite_begun(connection: Connection) -> None:
    options = connection.get_execution_options()
    wait_ms = options.get("clorad_wait_ms", BUSY_MS_MAX)
    if wait_ms != connection.info.get("wait_ms", BUSY_MS_MAX):  # a pooled connection keeps its value
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {wait_ms}")
        connection.info["wait_ms"] = wait_ms
    connection.exec_driver_sql(f"BEGIN {options.get('clorad_begin', 'IMMEDIATE')}")
