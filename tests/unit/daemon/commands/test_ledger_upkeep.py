"""`clorad ledger …`: making, checking, backing up and measuring the ledger."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger.database import Database
from tests.unit.daemon.conftest import Clorad
from tests.unit.ledger.schema_builder import build_schema


class TestLedger:
    def test_it_is_made_checked_and_made_again(self, clorad: Clorad, tmp_path: Path) -> None:
        missing = clorad("status")
        assert (missing.code, missing.out) == (1, "")
        assert "clorad.db (ledger.url)" in missing.err
        assert not (tmp_path / "clorad.db").exists()
        for _ in range(2):
            assert clorad("ledger", "migrate").code == 0
        assert "is the one this version needs" in clorad("ledger", "check").out
        assert "no agents yet" in clorad("status").out
        assert "no agents yet" in clorad("agents").out
        assert clorad("audit", "--offline").code == 0

    def test_another_schema_is_refused(self, clorad: Clorad, tmp_path: Path) -> None:
        clorad("ledger", "migrate")
        with sqlite3.connect(tmp_path / "clorad.db") as connection:
            connection.execute("ALTER TABLE replicas DROP COLUMN note")
        result = clorad("ledger", "check")
        assert (result.code, "differs in 1 place" in result.err) == (1, True)

    def test_an_older_ledger_is_refused_but_can_be_backed_up_and_migrated(
        self, clorad: Clorad, tmp_path: Path
    ) -> None:
        with closing(Database(f"sqlite:///{tmp_path / 'clorad.db'}")) as database:
            build_schema(database, "0001")
        for words in (("status",), ("agents",), ("audit", "--offline"), ("ledger", "check"), ("why", "a@v1")):
            printed = clorad(*words)
            assert (printed.code, printed.out) == (78, "")
            assert printed.err.startswith("clorad: the ledger has schema 0001, this clorad needs ")
            assert printed.err.count("\n") == 1
        assert clorad("ledger", "backup", "old.db").code == 0
        assert "schema 0001; restoring it updates it to" in clorad("ledger", "check", "old.db").out
        assert clorad("ledger", "migrate").code == 0
        assert clorad("status").code == 0
        assert clorad("ledger", "restore", "old.db").code == 0
        assert clorad("status").code == 0

    def test_a_newer_ledger_and_a_newer_backup_are_refused(self, clorad: Clorad, tmp_path: Path) -> None:
        clorad("ledger", "migrate")
        with sqlite3.connect(tmp_path / "clorad.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        for words in (("status",), ("ledger", "migrate"), ("ledger", "vacuum"), ("forget", "--author", "a")):
            printed = clorad(*words, *(["--reason", "x"] if words[0] == "forget" else []))
            assert (printed.code, printed.out) == (78, "")
            assert printed.err.startswith("clorad: the ledger has schema 9999, this clorad knows 0001 to ")
        assert clorad("ledger", "backup", "newer.db").code == 0
        for words in (("ledger", "check", "newer.db"), ("ledger", "restore", "newer.db")):
            printed = clorad(*words)
            assert (printed.code, printed.out) == (1, "")
            assert "newer.db has schema 9999, this clorad knows 0001 to " in printed.err

    def test_a_file_that_is_no_ledger_is_refused(self, clorad: Clorad, tmp_path: Path) -> None:
        (tmp_path / "clorad.db").write_text("not a database, but long enough to be taken for one" * 50)
        result = clorad("status")
        assert (result.code, result.out) == (78, "")
        assert "is no SQLite database" in result.err

    def test_a_database_that_is_away_is_said(self, clorad: Clorad) -> None:
        result = clorad("status", env={"CLORAD_LEDGER__URL": "postgresql+psycopg://x@127.0.0.1:1/x"})
        assert result.code == 75
        assert result.err.startswith(
            "clorad: the ledger is unavailable (OperationalError: connection failed: "
        )
        assert "Connection refused" in result.err
        assert result.err.endswith("; see ledger.url\n")
        assert result.err.count("\n") == 1

    def test_a_backup_that_is_not_there_is_said_in_words(self, clorad: Clorad) -> None:
        for words in (("ledger", "check", "lost"), ("ledger", "restore", "lost")):
            result = clorad(*words)
            assert (result.code, "lost: No such file or directory" in result.err) == (1, True)

    @pytest.mark.parametrize(
        "words",
        [
            ("replay", str(2**63)),
            ("dead-letters", "show", str(2**63)),
            ("dead-letters", "redrive", str(2**63)),
            ("rollback", "billing", "--to", str(2**63)),
        ],
    )
    def test_numbers_beyond_the_ledgers_are_refused(self, clorad: Clorad, words: tuple[str, ...]) -> None:
        clorad("ledger", "migrate")
        result = clorad(*words)
        assert result.code == 2
        assert str(2**63 - 1) in "".join(result.err.split())


class TestBackups:
    def test_a_backup_is_made_checked_and_gone_back_to(self, clorad: Clorad, story: Path) -> None:
        assert "10 offsets accounted for" in clorad("ledger", "backup", "copy.db").out
        assert "sound, ledger" in clorad("ledger", "check", "copy.db").out
        assert "exists already" in clorad("ledger", "backup", "copy.db").err
        refused = clorad("ledger", "restore", "copy.db")
        assert (refused.code, "learner-1" in refused.err) == (1, True), "its lease is live"
        clorad("agents", "add", "later", env={"CLORAD_ENGINE__BASE": str(a_base(story.parent))})
        result = clorad("ledger", "restore", "copy.db", "--force")
        assert result.code == 0, result.err
        assert "the replaced ledger is in copy.db.replaced-" in result.out
        document = clorad("status", "--json").json
        assert (list(document["agents"]), document["restores"]) == (["billing", "coder", "sql"], 1)

    @pytest.mark.usefixtures("story")
    def test_a_damaged_ledger_is_named(self, clorad: Clorad) -> None:
        with sqlite3.connect("clorad.db") as connection:
            connection.execute("UPDATE ranges SET dead = dead + 1, duplicates = duplicates - 1")
        connection.close()
        Path("text").write_text("no backup")
        assert "no sound ledger" in clorad("ledger", "check", "text").err
        assert clorad("ledger", "check").code == 1


def a_base(folder: Path) -> Path:
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"weights")
    return base


class TestSize:
    @pytest.mark.usefixtures("story")
    def test_people_and_programs_see_what_takes_the_room(self, clorad: Clorad, tmp_path: Path) -> None:
        (tmp_path / "adapters/billing/v1-000001").mkdir(parents=True)
        (tmp_path / "adapters/billing/v1-000001/weights").write_bytes(b"w" * 2048)
        (tmp_path / "clorad.toml").write_text(f'[store]\npath = "{tmp_path / "adapters"}"\n')
        document = clorad("ledger", "size", "--json").json
        assert document["kinds"]["events"]["rows"] == 7
        assert document["kinds"]["events"]["size_bytes"] > 7 * 100
        assert document["kinds"]["dead_letters"]["rows"] == 3
        assert document["store"] == {"directories": 1, "size_bytes": 2048}
        assert document["would_go"]["interactions"] == {"rows": 0, "size_bytes": 0}
        assert document["would_go"]["directories"]["rows"] == 1, "v2 was refused; its row says it has files"
        shown = clorad("ledger", "size").out
        assert "adapter store: 1 directory, 2.0 KiB" in shown
        assert "(after 30 days, ledger.interactions_days)" in shown
        off = clorad("ledger", "size", env={"CLORAD_LEDGER__INTERACTIONS_DAYS": "0"})
        assert "for ever" in off.out
