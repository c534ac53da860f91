"""Making room in the adapter store: a version the ledger believes in has its directory, whoever is killed."""

import os
import time
from pathlib import Path

import pytest

from daemon.upkeep import pruning
from daemon.upkeep.pruning import PrunedFolder
from ledger import leases
from ledger.database import Database
from ledger.learning import passes, turns
from ledger.learning.agents import Agent, declare
from ledger.learning.turns import lease_name
from ledger.upkeep.pruning import mark, unneeded
from ledger.versions.lineage import version_name, versions_of
from tests.unit.daemon.conftest import Clorad
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import build_version, open_pass, promote, refuse

HASH = "ab" * 32


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = build_ledger(tmp_path / "clorad.db", "billing", "sql")
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "adapters").mkdir()
    return tmp_path / "adapters"


def folder(path: Path, *, age_s: float = 2 * pruning.QUIET_S) -> Path:
    """A directory with 1,000 bytes in it, last written so long ago."""
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"w" * 1000)
    for aged in (path / "weights", path):
        os.utime(aged, times=(time.time() - age_s,) * 2)
    return path


def promoted(database: Database, store: Path, count: int) -> list[Path]:
    folders = []
    for number in range(count):
        keep(database, build_event(f"e{number}"))
        made = build_version(database)
        folders.append(folder(store / made.path))
        promote(database, made)
    return folders


def pruned(database: Database, store: Path, keep: int = 1) -> list[PrunedFolder]:
    announced = pruning.prunable_folders(database, store, ["billing", "sql"], keep=keep)
    folders = pruning.prune(database, store, ["billing", "sql"], keep=keep)
    assert sorted(announced, key=str) == sorted(folders, key=str), "a dry run says what would happen"
    believed_in_are_there(database, store)
    return folders


def believed_in_are_there(database: Database, store: Path) -> None:
    with database.read() as connection:
        for version in versions_of(connection, "billing"):
            assert (store / version.path).is_dir() is (version.pruned_s is None)


def names(folders: list[PrunedFolder]) -> list[str]:
    return [folder.name for folder in folders]


def test_directories_nobody_needs_go_and_the_ledger_knows(database: Database, store: Path) -> None:
    v1, v2, v3 = promoted(database, store, 3)
    folders = pruned(database, store)
    assert [(folder.name, folder.size_bytes) for folder in folders] == [(v1.name, 1000)]
    assert sorted((store / "billing").iterdir()) == [v2, v3]
    assert pruned(database, store) == []


def test_killed_after_the_ledger_was_told_the_rest_goes_the_next_time(
    database: Database, store: Path
) -> None:
    v1, _, _ = promoted(database, store, 3)
    with database.write() as connection:
        mark(connection, unneeded(connection, "billing", keep=1))
    assert v1.is_dir()
    assert [folder.why for folder in pruned(database, store)] == ["pruned before"]


def test_killed_while_removing_the_rest_goes_the_next_time(database: Database, store: Path) -> None:
    promoted(database, store, 1)
    folder(store / "billing" / ".going-v9-abcdef", age_s=0)
    assert names(pruned(database, store)) == [".going-v9-abcdef"]


def test_a_name_on_its_way_out_may_be_taken_already(database: Database, store: Path) -> None:
    v1, _, _ = promoted(database, store, 3)
    folder(store / "billing" / f".going-{v1.name}")
    assert names(pruned(database, store)) == [f".going-{v1.name}", v1.name]
    assert len(list((store / "billing").iterdir())) == 2


def test_a_turns_work_stays_while_it_may_become_a_version(database: Database, store: Path) -> None:
    keep(database, build_event("1"))
    [turn] = open_pass(database, "billing").turns
    old = folder(store / "billing" / f".draft-{turn.id}-{turn.plan.token}")
    renamed = folder(store / "billing" / version_name(turn.number, HASH))
    assert pruned(database, store) == []
    leases.release(database, {lease_name("billing"): turn.plan.token})
    [token] = leases.acquire(database, [lease_name("billing")], holder="two", ttl_s=5).values()
    with database.read() as connection:
        [unfinished] = passes.unfinished_passes(connection)
    passes.adopt_pass(database, unfinished, {"billing": token})
    folder(store / "billing" / f".draft-{turn.id}-{token}")
    assert names(pruned(database, store)) == [old.name], "whoever wrote it can record nothing any more"
    turns.void_turn(database, turn, token=token, reason="")
    assert names(pruned(database, store)) == [f".draft-{turn.id}-{token}", renamed.name]


def test_what_was_written_just_now_is_let_be(database: Database, store: Path) -> None:
    fresh = folder(store / "billing" / ".draft-7-1", age_s=10.0)
    assert pruned(database, store) == []
    for path in (fresh, *fresh.iterdir()):
        os.utime(path, times=(1.0, 1.0))
    assert names(pruned(database, store)) == [fresh.name]


def test_versions_of_a_ledger_that_went_back_are_unknown_and_go(database: Database, store: Path) -> None:
    folder(store / "billing" / version_name(12, HASH))
    assert [folder.why for folder in pruned(database, store)] == ["the ledger knows no such version"]


def test_what_is_not_ours_is_let_be(database: Database, store: Path) -> None:
    for name in ("billing/notes", "billing/v1", "billing/.draft-x", "others/v1-abcdef"):
        folder(store / name)
    (store / "billing" / "v2-abcdef.tar").write_text("a copy")
    assert pruned(database, store) == []


class TestCommand:
    @pytest.fixture
    def installed(self, clorad: Clorad, database: Database, store: Path) -> Clorad:
        Path("clorad.toml").write_text(f'[store]\npath = "{store}"\n')
        promoted(database, store, 4)
        keep(database, build_event("r"))
        made = build_version(database)
        folder(store / made.path)
        refuse(database, made)
        return clorad

    def test_it_is_tried_done_and_told(self, installed: Clorad, store: Path) -> None:
        tried = installed("versions", "prune", "--keep", "2", "--dry-run")
        assert (tried.code, len(list((store / "billing").iterdir()))) == (0, 5)
        assert "3 directories, 2.9 KiB would go; nothing was changed" in tried.out
        done = installed("versions", "prune", "--keep", "2", "--agent", "billing", "--json").json
        assert [directory["name"][:2] for directory in done["directories"]] == ["v1", "v2", "v5"]
        assert done["size_bytes"] == 3000
        assert len(list((store / "billing").iterdir())) == 2
        assert "0 directories, 0 B gone" in installed("versions", "prune").out

    def test_people_are_told_of_pruned_ones_wherever_they_meet_them(self, installed: Clorad) -> None:
        installed("versions", "prune", "--keep", "1")
        listed = installed("versions", "billing").out.splitlines()
        assert [line.rstrip().endswith("files pruned") for line in listed[1:]] == [
            True, False, False, True, True,
        ]  # fmt: skip
        assert installed("versions", "--json", "billing").json[-1]["pruned_s"] > 0
        assert "files     pruned 2" in installed("why", "billing@v1").out
        back = installed("rollback", "billing", "--to", "1")
        assert (back.code, back.out) == (1, "")
        assert "was pruned on" in back.err
        assert "one can go back to v3, v0" in back.err

    def test_a_store_that_is_away_is_said_and_nothing_is_marked(
        self, installed: Clorad, store: Path, database: Database
    ) -> None:
        store.rename(store.with_name("unmounted"))
        result = installed("versions", "prune", "--keep", "1")
        assert (result.code, "No such file or directory" in result.err) == (1, True)
        with database.read() as connection:
            assert all(version.pruned_s is None for version in versions_of(connection, "billing"))

    def test_a_store_that_can_only_be_read_is_said_and_nothing_is_marked(
        self, installed: Clorad, tmp_path: Path, database: Database
    ) -> None:
        Path("clorad.toml").write_text('[store]\npath = "/proc/self"\n')  # also root may only read it
        result = installed("versions", "prune", "--keep", "1")
        assert (result.code, "may only be read here" in result.err) == (1, True)
        assert installed("versions", "prune", "--keep", "1", "--dry-run").code == 0
        with database.read() as connection:
            assert all(version.pruned_s is None for version in versions_of(connection, "billing"))

    def test_one_prunes_at_a_time(self, installed: Clorad, database: Database) -> None:
        leases.acquire(database, ["pruning"], holder="somebody", ttl_s=10)
        result = installed("versions", "prune")
        assert (result.code, "somebody else is pruning" in result.err) == (75, True)

    def test_an_agent_may_be_called_like_a_command(self, clorad: Clorad, database: Database) -> None:
        declare(database, Agent(name="prune", base_hash="b" * 64))
        assert "prune serves v0" in clorad("versions", "show", "prune").out
        assert clorad("versions", "prune", "--agent", "nobody").err.startswith("clorad: no agent nobody")
        assert clorad("versions").code == 2
