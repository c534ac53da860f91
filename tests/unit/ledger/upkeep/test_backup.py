"""A backup is the whole ledger or no file; a restore takes back everything but what must never go back."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from ledger import leases, schema
from ledger.database import Database
from ledger.errors import NoCopy, RestoreRefused
from ledger.intake import outbox
from ledger.learning import event_queries
from ledger.reports.audit import audit
from ledger.revisions import known_revisions
from ledger.topic_names import LIFECYCLE_TOPIC
from ledger.upkeep import copies, erasures, forgetting
from ledger.upkeep.backup import back_up, restore, restores
from ledger.upkeep.mentions import Subject
from ledger.versions.desired import generation, raise_generation
from tests import postgres_server
from tests.unit.ledger.event_builder import build_event, build_retraction, build_unusable, keep
from tests.unit.ledger.schema_builder import BILLING, build_schema

NEWEST = known_revisions()[-1]


@pytest.fixture
def database(database: Database) -> Database:
    """With an identity, three events, a dead letter, and a lease given back."""
    with database.write() as connection:
        connection.execute(schema.facts.insert().values(name="ledger_id", value="us"))
        raise_generation(connection)
    keep(database, build_event("1"), build_event("2"), build_event("3"), build_unusable())
    leases.release(database, leases.acquire(database, ["agent/billing"], holder="l", ttl_s=5.0))
    return database


def set_revision(database: Database, revision: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})


def ids(database: Database) -> list[str]:
    with database.read() as connection:
        return sorted(connection.scalars(select(schema.events.c.id)))


def go_back(database: Database, file: Path, **options: bool) -> Path:
    replaced = file.with_name(f"{file.name} replaced")
    restore(database.url, file, replaced=replaced, **options)
    return replaced


def test_a_restored_ledger_is_the_one_that_was_backed_up(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    standing = back_up(database.url, file)
    assert (standing.ledger_id, standing.next_offsets) == ("us", 4)
    assert file.stat().st_mode & 0o077 == 0, "it holds what people wrote"
    keep(database, build_event("4"))
    replaced = go_back(database, file)
    assert ids(database) == ["1", "2", "3"]
    with database.read() as connection:
        assert audit(connection).disagreements == ()
        assert event_queries.event_by_uid(connection, "dev#1")[0].event == build_event("1")
    keep(database, build_event("4"))
    assert ids(database) == ["1", "2", "3", "4"], "and is taken in again"
    go_back(database, replaced)
    assert ids(database) == ["1", "2", "3", "4"], "what it was is kept too"


def test_a_ledger_whose_url_names_a_file_uri_is_backed_up_and_restored(tmp_path: Path) -> None:
    url = f"sqlite:///file:{tmp_path}/clo%72ad.db?uri=true"
    with closing(Database(url)) as ledger:
        ledger.migrate()
        back_up(url, tmp_path / "backup")
    restore(url, tmp_path / "backup", replaced=tmp_path / "replaced")
    assert (tmp_path / "replaced").is_file()
    copies.check(tmp_path / "clorad.db")


@pytest.mark.parametrize("name", ["#1", "who?", "100%20", "ä b"])
def test_files_and_folders_may_be_called_anything(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    with closing(Database(copies.url_of(folder / "clorad.db"))) as ledger:
        ledger.migrate()
        file = folder / f"backup {name}"
        back_up(ledger.url, file)
        copies.check(file)
        assert copies.facts(file)["revision"]
        keep(ledger, build_event("1"))
        go_back(ledger, file)
        with ledger.read() as connection:
            assert (restores(connection), audit(connection).partitions) == (1, ())
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_what_must_never_go_back_does_not(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    back_up(database.url, file)
    with database.read() as connection:
        before = generation(connection)
    for _ in range(3):
        taken = leases.acquire(database, ["agent/billing", "fleet"], holder="l", ttl_s=5.0)
    leases.release(database, taken)
    with database.write() as connection:
        raised = raise_generation(connection)
    keep(database, build_unusable(), build_unusable())
    last = outbox.pending(database, limit=100)[-1].id
    go_back(database, file)
    with database.read() as connection:
        assert generation(connection) > raised > before
        assert restores(connection) == 1
    again = leases.acquire(database, ["agent/billing", "fleet"], holder="m", ttl_s=5.0)
    assert all(again[name] > taken[name] for name in taken), "a holder from before is fenced"
    message = outbox.pending(database, limit=100)[-1]
    assert (message.topic, message.id > last) == (LIFECYCLE_TOPIC, True)
    keep(database, build_unusable())
    assert outbox.pending(database, limit=100)[-1].id > message.id, "no id names two messages"
    go_back(database, file.with_name("backup replaced"), force=True)
    with database.read() as connection:
        assert restores(connection) == 2


def test_what_was_forgotten_since_is_back_and_known_to_be(database: Database, tmp_path: Path) -> None:
    def forget(id: str) -> int | None:
        subject = Subject(kind="event", uids=frozenset({("dev", id)}))
        return forgetting.forget(database, subject, whom=f"print of {id}", by="dpo", reason="asked").erasure

    assert forget("1") == 1
    file = tmp_path / "backup"
    back_up(database.url, file)
    assert forget("2") == 2
    go_back(database, file)
    with database.read() as connection:
        first, second = erasures.all_erasures(connection)
        [kept] = event_queries.event_by_uid(connection, "dev#2")
    assert (first.finished_s is None, second.finished_s is None) == (False, True)
    assert (second.by, second.whom, second.counts) == ("dpo", "print of 2", {})
    assert kept.event == build_event("2"), "a backup holds what it held"
    assert forget("2") == 3
    with database.read() as connection:
        assert all(erasure.finished_s is not None for erasure in erasures.all_erasures(connection))


def test_nobody_loses_a_running_ledger_unasked(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    back_up(database.url, file)
    keep(database, build_event("4"))
    leases.acquire(database, ["fleet"], holder="host:7", ttl_s=10.0)
    with pytest.raises(RestoreRefused, match="host:7"):
        go_back(database, file)
    assert ids(database) == ["1", "2", "3", "4"]
    go_back(database, file, force=True)
    assert ids(database) == ["1", "2", "3"]


def test_another_ledgers_backup_is_refused(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    back_up(database.url, file)
    with database.write() as connection:
        connection.execute(
            schema.facts.update().values(value="them").where(schema.facts.c.name == "ledger_id")
        )
    with pytest.raises(RestoreRefused, match="another ledger"):
        go_back(database, file)


def test_a_file_that_is_no_backup_changes_nothing(database: Database, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("nothing of the kind")
    file = tmp_path / "backup"
    back_up(database.url, file)
    half = tmp_path / "half"
    half.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for wrong in (tmp_path / "text", half, tmp_path / "missing"):
        with pytest.raises(NoCopy):
            go_back(database, wrong)
    with pytest.raises(NoCopy, match="exists already"):
        back_up(database.url, file)
    assert ids(database) == ["1", "2", "3"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_lost_ledger_is_made_from_its_backup(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    back_up(database.url, file)
    database.close()
    if database.is_sqlite:
        folder = copies.path_of(database.url).parent
        for path in folder.glob("clorad.db*"):
            path.unlink()
        shutil.move(file, folder / "copy")
        file = folder / "copy"
    else:
        with database.write() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    assert not go_back(database, file).exists()
    assert ids(database) == ["1", "2", "3"]


def test_a_backup_of_an_older_version_is_brought_up_to_date(
    database: Database, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    old = f"sqlite:///{tmp_path / 'old.db'}"
    if not database.is_sqlite:
        old = postgres_server.new_database(request.getfixturevalue("postgres"))
    make_first_version(old)
    back_up(old, tmp_path / "backup")
    go_back(database, tmp_path / "backup")
    keep(database, build_event("5"), build_retraction("r", "5"))
    assert ids(database) == ["5", "r"]
    with database.read() as connection:
        assert audit(connection).disagreements == ()
        assert restores(connection) == 1


def make_first_version(url: str) -> None:
    """A ledger as the first version of clorad made it, with an identity and an agent."""
    with closing(Database(url)) as opened:
        build_schema(opened, "0001")
        with opened.write() as connection:
            connection.execute(text("INSERT INTO facts (name, value) VALUES ('ledger_id', 'us')"))
            connection.execute(text(BILLING))


def test_a_backup_of_a_newer_version_changes_nothing(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    set_revision(database, "9999")
    back_up(database.url, file)
    set_revision(database, NEWEST)
    keep(database, build_event("4"))
    with pytest.raises(NoCopy, match=f"backup has schema 9999, this clorad knows 0001 to {NEWEST}: "):
        go_back(database, file)
    assert ids(database) == ["1", "2", "3", "4"]
    with database.read() as connection:
        assert restores(connection) == 0


def test_a_newer_ledger_can_be_backed_up_and_replaced(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    back_up(database.url, file)
    set_revision(database, "9999")
    back_up(database.url, tmp_path / "newer")
    assert copies.facts(tmp_path / "newer")["revision"] == "9999"
    if database.is_sqlite:
        go_back(database, file)
    else:  # tables that this version does not know would be left behind
        with pytest.raises(NoCopy, match=r"has schema 9999, .* restore into an empty database"):
            go_back(database, file)
        set_revision(database, NEWEST)
    assert ids(database) == ["1", "2", "3"]


def test_roles_go_on_while_a_backup_is_made(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        connection.execute(schema.facts.insert().values(name="half", value="written"))
        back_up(database.url, tmp_path / "backup")
    assert "half" not in copies.facts(tmp_path / "backup")
    assert copies.facts(tmp_path / "backup")["ledger_id"] == "us"


@pytest.mark.postgres
def test_a_dump_of_newer_postgres_programs_is_refused_with_what_to_install(
    postgres_ledger: str, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    back_up(postgres_ledger, file)
    content = bytearray(file.read_bytes())
    content[6] = 99  # the minor version of the file format, after PGDMP and the major one
    file.write_bytes(content)
    with pytest.raises(NoCopy, match=r"version \(1\.99\).*; install newer Postgres client programs"):
        copies.check(file)


@pytest.mark.postgres
def test_without_postgres_programs_one_line_says_so(
    postgres_ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCopy, match="pg_dump is not on the PATH"):
        back_up(postgres_ledger, tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []


def test_the_kinds_of_database_are_not_mixed_up(database: Database, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    Database(f"sqlite:///{other}").migrate()
    if database.is_sqlite:
        (tmp_path / "dump").write_bytes(b"PGDMP" + b"\0" * 40)
        other = tmp_path / "dump"
    with pytest.raises(NoCopy):
        go_back(database, other)
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.events)) == 3
