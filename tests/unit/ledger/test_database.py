"""Transactions on the ledger: one writer, consistent readers, and faults that say what a caller can do."""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError

from ledger import database as database_module
from ledger import schema
from ledger.database import Database, now_s
from ledger.errors import LedgerDamaged, LedgerRefused, LedgerUnavailable
from ledger.versions import desired
from tests import postgres_server
from tests.unit.ledger.event_builder import build_event, keep

ROOT = Path(__file__).parents[3]


def test_the_database_tells_the_time(database: Database) -> None:
    with database.read() as connection:
        first = now_s(connection)
        time.sleep(0.02)
        second = now_s(connection)
    assert 0.01 < second - first < 10.0
    assert abs(second - time.time()) < 60.0


def test_what_is_done_in_a_read_is_not_kept(database: Database) -> None:
    with suppress(InternalError), database.read() as connection:  # Postgres refuses to write there at all
        connection.execute(insert(schema.facts).values(name="x", value="1"))
    with database.read() as connection:
        assert connection.scalar(select(schema.facts.c.value).where(schema.facts.c.name == "x")) is None


def test_a_read_sees_one_moment(database: Database) -> None:
    count = select(func.count()).select_from(schema.events)
    with database.read() as connection:
        assert connection.scalar(count) == 0
        keep(database, build_event("1"))
        assert connection.scalar(count) == 0
    with database.read() as connection:
        assert connection.scalar(count) == 1


def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    with suppress(ZeroDivisionError), database.write() as connection:
        connection.execute(insert(schema.facts).values(name="x", value="1"))
        raise ZeroDivisionError
    with database.read() as connection:
        assert connection.scalar(select(schema.facts.c.value).where(schema.facts.c.name == "x")) is None


def test_writers_come_one_after_the_other_and_none_is_lost(url: str) -> None:
    def raise_often() -> None:
        database = Database(url)
        for _ in range(10):
            with database.write() as connection:
                desired.raise_generation(connection)
        database.close()

    before = Database(url)
    with before.write() as connection:
        start = desired.raise_generation(connection)
    threads = [threading.Thread(target=raise_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    with before.read() as connection:
        assert desired.generation(connection) == start + 40
    before.close()


def test_a_writer_that_waits_too_long_hears_that_the_ledger_is_unavailable(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_MS_MAX", 1000)
    holder, other = Database(url), Database(url)
    with holder.write(), pytest.raises(LedgerUnavailable), other.write():
        pass
    with other.write() as connection:
        assert now_s(connection) > 0
    holder.close()
    other.close()


def test_errors_do_not_quote_what_people_wrote(database: Database) -> None:
    row = {"name": "generation", "value": "please refund invoice 4711"}
    with pytest.raises(IntegrityError) as fault, database.write() as connection:
        connection.execute(insert(schema.facts).values(**row))
    assert "4711" not in str(fault.value)


def test_a_database_without_our_tables_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(LedgerRefused), database.read() as connection:
        desired.generation(connection)
    database.close()


@pytest.mark.parametrize(
    ("sound_bytes", "damage_text"),
    [(0, "is no SQLite database"), (4096, "is damaged"), (8 * 4096, "is damaged")],
)
def test_a_damaged_file_is_refused_by_name_with_what_to_do(
    tmp_path: Path, sound_bytes: int, damage_text: str
) -> None:
    path = tmp_path / "clorad.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(sound_bytes)
        file.write(b"\x77" * (size - sound_bytes))
    for begin in (database.read, database.write):
        with pytest.raises(LedgerDamaged) as damage, begin() as connection:
            [
                connection.scalar(select(func.count()).select_from(table))
                for table in schema.metadata.sorted_tables
            ]
        assert f"{path} {damage_text}" in str(damage.value)
        assert "clorad ledger restore" in str(damage.value)
    with pytest.raises(LedgerDamaged):
        database.migrate()
    database.close()


@pytest.mark.postgres
def test_an_empty_postgres_database_is_refused(postgres: str) -> None:
    url = postgres_server.new_database(postgres)
    database = Database(url)
    with pytest.raises(LedgerRefused), database.read() as connection:
        desired.generation(connection)
    database.close()
    postgres_server.drop_database(url)


def raise_in(database: Database, sqlstate: str) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'refund 4711' USING ERRCODE = '{sqlstate}'; END $$"
    with database.write() as connection:
        connection.execute(text(raising))


@pytest.mark.postgres
@pytest.mark.parametrize(
    "sqlstate",
    [
        *("08006", "08P01", "25006", "25P03", "26000", "28P01", "40001", "40P01", "42P05", "53100", "53300"),
        *("55000", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "58030", "72000", "XX000"),
    ],
)
def test_what_passes_on_postgres_is_waited_out_and_named_by_its_sqlstate(
    postgres_ledger: str, sqlstate: str
) -> None:
    database = Database(postgres_ledger)
    with pytest.raises(LedgerUnavailable, match=sqlstate) as fault:
        raise_in(database, sqlstate)
    assert "4711" not in str(fault.value)
    with database.write() as connection:  # it goes on
        assert now_s(connection) > 0
    database.close()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("sqlstate", "refusal"),
    [("42501", LedgerRefused), ("42P01", LedgerRefused), ("XX001", LedgerDamaged), ("XX002", LedgerDamaged)],
)
def test_what_a_person_must_mend_on_postgres_is_refused(
    postgres_ledger: str, sqlstate: str, refusal: type[LedgerRefused]
) -> None:
    database = Database(postgres_ledger)
    with pytest.raises(refusal):
        raise_in(database, sqlstate)
    database.close()


@pytest.mark.postgres
@pytest.mark.parametrize("sqlstate", ["22012", "23505", "42601", "54000", "P0001"])
def test_faults_of_our_own_on_postgres_are_not_waited_out(postgres_ledger: str, sqlstate: str) -> None:
    database = Database(postgres_ledger)
    with pytest.raises(DBAPIError):
        raise_in(database, sqlstate)
    database.close()


@pytest.mark.postgres
def test_after_a_fail_over_to_a_stand_by_writes_wait_and_go_on_over_new_connections(postgres: str) -> None:
    url = postgres_server.new_database(postgres)
    database = Database(url)
    database.migrate()
    name = url.rpartition("/")[2].partition("?")[0]

    def make_read_only(value: str) -> None:
        postgres_server.execute(
            postgres, f"ALTER DATABASE {name} SET default_transaction_read_only = {value}"
        )

    make_read_only("on")  # for sessions that begin from now on
    database.close()
    with database.read() as connection:  # the pool has a connection that was read from
        assert desired.generation(connection) >= 0
    with (
        pytest.raises(LedgerUnavailable, match="25006 ReadOnlySqlTransaction"),
        database.write() as connection,
    ):
        desired.raise_generation(connection)
    with database.read() as connection:
        assert desired.generation(connection) >= 0
    make_read_only("off")
    with suppress(LedgerUnavailable), database.write() as connection:
        desired.raise_generation(
            connection
        )  # over the pooled connection of the read: it leads to the stand-by
    with database.write() as connection:
        desired.raise_generation(connection)
    database.close()
    postgres_server.drop_database(url)


@pytest.mark.postgres
def test_nothing_is_left_in_a_session_so_that_a_pooler_may_give_each_transaction_another(
    postgres_ledger: str,
) -> None:
    database = Database(postgres_ledger)
    for _ in range(10):  # psycopg prepares a statement that is executed for the sixth time
        with database.read() as connection:
            desired.generation(connection)
    with database.write() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "5s"
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "15s"
    with database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
        assert connection.scalar(text("SHOW lock_timeout")) == "0"
    database.close()


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://nobody@127.0.0.1:1/clorad", "sqlite:////proc/clorad/clorad.db"],
    ids=["no server", "no such directory"],
)
def test_a_ledger_that_is_away_is_unavailable(url: str) -> None:
    database = Database(url)
    with pytest.raises(LedgerUnavailable), database.read() as connection:
        now_s(connection)


def test_a_folder_that_cannot_be_made_is_unavailable() -> None:
    with pytest.raises(LedgerUnavailable):
        Database("sqlite:////proc/clorad/clorad.db").migrate()


def test_migrating_again_changes_nothing(database: Database) -> None:
    keep(database, build_event("1"))
    database.migrate()
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.events)) == 1


def test_the_migration_makes_exactly_the_schema_in_the_code(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_a_role_that_starts_takes_no_write_lock_where_the_schema_is_the_newest(url: str) -> None:
    at_work, starting = Database(url), Database(url)
    at_work.migrate()
    with at_work.write():
        starting.migrate()  # would raise `LedgerUnavailable` if it waited for the lock
    for database in (at_work, starting):
        database.close()


MIGRATES = """
import sys, time
from ledger.database import Database
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
database = Database(sys.argv[1])
database.migrate()
"""


def test_roles_that_start_at_once_migrate_a_new_ledger_together(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    together_s = time.time() + 2.0
    command = [sys.executable, "-c", MIGRATES, f"sqlite:///{tmp_path}/new/clorad.db", str(together_s)]
    started = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate(timeout=120)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0], errors


def test_a_ledger_killed_while_writing_keeps_all_or_nothing(url: str) -> None:
    script = (
        "import os, sys\n"
        "from sqlalchemy import insert\n"
        "from ledger.database import Database\n"
        "from ledger import schema\n"
        "with Database(sys.argv[1]).write() as connection:\n"
        "    connection.execute(insert(schema.facts).values(name='x', value='1'))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, url], cwd=ROOT, timeout=60, check=False)
    database = Database(url)
    with database.write() as connection:
        assert connection.scalar(text("SELECT count(*) FROM facts WHERE name = 'x'")) == 0
    database.close()
