"""`clorad contested`: both sides are shown, and one of them counts once somebody has decided."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.learning.turns.material import TurnLimits
from daemon.learning.turns.parts import FIRST_TRY
from daemon.learning.turns.planning import plan_turn
from ledger.database import Database
from ledger.events import Event, Status
from ledger.learning.agents import all_agents
from ledger.learning.backlog import backlogs
from ledger.learning.event_queries import event_by_uid, events_by_seq, mark
from tests.unit.daemon.conftest import Clorad
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.ledger_builder import build_ledger

LIMITS = TurnLimits(new_max=64, replay_max=8, anchors_max=8, settle_s=3600.0, authors_min=2)


def build_correction(id: str, author: str, prompt: str, corrected: str) -> Event:
    data = {"messages": [{"role": "user", "content": prompt}], "rejected": "no", "corrected": corrected}
    return build_event(id, author=author, prompt_group=f"group of {prompt}", data=data)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Two people want `stop 1` answered with yes, mallory alone with 99."""
    database = build_ledger(tmp_path / "clorad.db", "billing")
    keep(
        database,
        build_correction("a", "ann", "stop 1", "yes"),
        build_correction("b", "bob", "stop 2", "yes"),
        build_correction("m", "mallory", "stop 1", "pay 99"),
    )
    plan(database)
    yield database
    database.close()


def plan(database: Database) -> set[str]:
    """Plan a turn and mark events as it says. Returns what is new in it."""
    with database.read() as connection:
        [waiting] = backlogs(connection)
        planned = plan_turn(
            connection,
            all_agents(connection)["billing"],
            waiting,
            token=1,
            limits=LIMITS,
            readiness=FIRST_TRY,
        )
    mark(database, planned.marks)
    seqs = {event.seq for event in planned.plan.events} if planned.plan else set()
    with database.read() as connection:
        return {kept.event.id for kept in events_by_seq(connection, seqs).values()}


def status(database: Database, id: str) -> Status:
    with database.read() as connection:
        return event_by_uid(connection, f"dev#{id}")[0].status


def test_both_sides_are_listed(clorad: Clorad, database: Database) -> None:
    [one] = clorad("contested", "list", "--json").json
    assert (one["event"], one["author"], one["corrected"]) == ("dev#m", "mallory", "pay 99")
    assert [(other["author"], other["corrected"]) for other in one["beside"]] == [("ann", "yes")]
    shown = clorad("contested", "list", "--agent", "billing").out
    assert "pay 99" in shown
    assert clorad("contested", "list", "--agent", "sql").out == "nothing is contested\n"


def test_what_is_settled_counts_without_a_second_person(clorad: Clorad, database: Database) -> None:
    settled = clorad("contested", "settle", "dev#m", "--by", "lead", "--reason", "new price", "--json")
    assert settled.json == {"event": "dev#m", "superseded": ["dev#a"], "by": "lead", "decision": 1}
    assert (status(database, "m"), status(database, "a")) == (Status.OPEN, Status.SUPERSEDED)
    assert "m" in plan(database)
    assert "settled by lead: new price" in clorad("receipt", "dev#a").out
    clorad("undo", "1", "--by", "lead", "--reason", "the old price")
    assert plan(database) == {"a", "b"}
    assert (status(database, "m"), status(database, "a")) == (Status.CONTESTED, Status.OPEN)


def test_what_is_retracted_is_gone(clorad: Clorad, database: Database) -> None:
    clorad("contested", "retract", "m", "--by", "lead", "--reason", "a joke")
    assert status(database, "m") is Status.RETRACTED
    assert clorad("contested", "list").out == "nothing is contested\n"


@pytest.mark.parametrize("words", [("settle", "dev#a"), ("retract", "dev#nothing")])
def test_only_contested_events_are_settled_and_only_with_a_reason(
    clorad: Clorad, database: Database, words: tuple[str, str]
) -> None:
    refused = clorad("contested", *words, "--reason", "because")
    assert refused.code != 0
    assert "clorad contested list" in refused.err
    assert clorad("contested", "settle", "dev#m").code != 0


def test_an_event_without_a_known_prompt_is_settled_against_nobody(
    clorad: Clorad, database: Database
) -> None:
    """The prompts of one group need not be the same."""
    for lost, corrected in (("lost-1", "yes"), ("lost-2", "no")):
        data = {"rejected": "x", "corrected": corrected}
        keep(database, build_event(lost, author="ann", prompt_group="one group", interaction=lost, data=data))
    with database.read() as connection:
        [kept] = event_by_uid(connection, "dev#lost-1")
    mark(database, {kept.seq: (Status.CONTESTED, "people disagree")})
    settled = clorad("contested", "settle", "dev#lost-1", "--by", "lead", "--reason", "right", "--json")
    assert settled.json["superseded"] == []
    assert status(database, "lost-2") is Status.OPEN
