"""`clorad retract`, `restore` and `undo`: what was done to an event is taken back, as its receipt says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.database import Database
from ledger.events import Event, Status
from ledger.learning.agents import Agent, declare
from ledger.learning.event_queries import event_by_uid
from tests.unit.daemon.commands.acting.test_contested import build_correction, plan
from tests.unit.daemon.conftest import Clorad
from tests.unit.ledger.event_builder import build_retraction, keep
from tests.unit.ledger.turn_builder import build_version, promote

WHY = ("--by", "lead", "--reason", "ann did not say that")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'clorad.db'}")
    database.migrate()
    declare(database, Agent(name="billing", base_hash="b" * 64))
    keep(database, said("a", "ann", "yes"), said("b", "bob", "yes"))
    yield database
    database.close()


def said(id: str, author: str, corrected: str) -> Event:
    return build_correction(id, author, "stop 1", corrected)


def status(database: Database, id: str) -> Status:
    with database.read() as connection:
        return event_by_uid(connection, f"dev#{id}")[0].status


def test_a_forged_retraction_is_undone_and_the_receipt_says_by_whom(
    clorad: Clorad, database: Database
) -> None:
    keep(database, build_retraction("x", "a", author="ann"))
    assert "not used: retracted" in clorad("receipt", "dev#a").out
    done = clorad("restore", "dev#a", *WHY)
    assert done.out.startswith("dev#a counts again; undone: dev#x (decision 1; `clorad undo 1`")
    assert "decision 1: restore of dev#a by lead" in clorad("receipt", "dev#a").out
    shown = clorad("receipt", "dev#x").out
    assert "not used: undone (undone by lead: ann did not say that)" in shown
    taken_back = clorad("undo", "1", "--by", "boss", "--reason", "she did", "--json").json
    assert (taken_back["event"], taken_back["changed"]) == ("dev#a", ["dev#x"])
    assert (status(database, "a"), status(database, "x")) == (Status.RETRACTED, Status.APPLIED)
    assert "(undone by decision 2)" in clorad("receipt", "dev#a").out


def test_a_forged_later_correction_of_the_same_prompt_is_undone_too(
    clorad: Clorad, database: Database
) -> None:
    keep(database, said("x", "ann", "pay 99"))
    plan(database)
    assert status(database, "a") is Status.SUPERSEDED
    assert clorad("restore", "dev#a", *WHY, "--json").json["changed"] == ["dev#x"]
    assert "a" in plan(database)
    assert (status(database, "a"), status(database, "x")) == (Status.OPEN, Status.UNDONE)


def test_anybodys_event_is_retracted_and_versions_that_learned_from_it_are_named(
    clorad: Clorad, database: Database
) -> None:
    version = build_version(database)
    promote(database, version)
    done = clorad("retract", "dev#b", *WHY)
    assert status(database, "b") is Status.RETRACTED
    assert f"{version.name} learned from it and serves" in done.out
    assert "clorad rollback billing --to 0" in done.out
    clorad("undo", "1", *WHY)
    assert status(database, "b") is Status.OPEN


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("restore", "dev#a"), "nobody withdrew it"),
        (("restore", "dev#nothing"), "no event is called"),
        (("undo", "7"), "no decision has the number 7"),
    ],
)
def test_what_cannot_be_decided_is_refused_in_one_line(
    clorad: Clorad, database: Database, words: tuple[str, ...], complaint: str
) -> None:
    refused = clorad(*words, *WHY)
    assert (refused.code, refused.out) == (1, "")
    assert complaint in refused.err


@pytest.mark.parametrize("words", [("retract", "dev#a"), ("restore", "dev#a"), ("undo", "1")])
def test_without_a_reason_nothing_is_decided(
    clorad: Clorad, database: Database, words: tuple[str, ...]
) -> None:
    assert clorad(*words).code == 2
