"""The leader tells the ledger's vitals: bounded, once, and no longer than it leads."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.learning.scheduler import Freshness
from daemon.upkeep import ledger_metrics
from daemon.upkeep.ledger_metrics import agent_state, record_ledger_metrics
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.learning.backlog import Backlog
from ledger.learning.usage import Usage
from ledger.versions import promotion
from tests.meters import metric_increases, metric_values
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import build_version, promote

FRESHNESS = Freshness(
    events_min=2, age_s_max=3600.0, alpha=0.05, refusals_max=3, suite_min=0, settle_s=0.0, authors_min=1
)
SEEN = "clorad.ledger.agents"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = build_ledger(tmp_path / "clorad.db", "billing", "sql")
    yield opened
    opened.close()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_metrics, "UPDATE_EVERY_S", 0.02)
    monkeypatch.setattr(ledger_metrics, "UPDATE_SHARE_MAX", 1.0)


@contextmanager
def leading(database: Database) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=record_ledger_metrics, args=(database, FRESHNESS, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10.0)
        assert not thread.is_alive()


def wait_for(done: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 20.0
    while not done():
        assert time.monotonic() < until_s, "it did not come to that"
        time.sleep(0.02)


def states() -> dict[str, float]:
    return {dict(labels)["state"]: count for labels, count in metric_values(SEEN).items() if count}


@pytest.mark.usefixtures("quickly")
def test_agents_are_counted_by_what_they_do_and_only_while_leading(database: Database) -> None:
    assert metric_values(SEEN) == {}
    with leading(database):
        wait_for(lambda: states() == {"idle": 2})
        keep(database, build_event("1"))
        wait_for(lambda: states() == {"idle": 1, "waiting": 1})
        build_version(database)
        wait_for(lambda: states() == {"idle": 1, "judging": 1})
        assert metric_values("clorad.ledger.candidates") == {(): 1}
    assert metric_values(SEEN) == {}
    assert metric_values("clorad.ledger.candidates") == {}


@pytest.mark.usefixtures("quickly")
def test_decisions_are_counted_while_leading_and_nobody_is_named(database: Database) -> None:
    before, waits = metric_values("clorad.gate.decisions"), metric_values("clorad.event.to_live")
    keep(database, build_event("1"))
    promote(database, build_version(database))  # before anybody led: the leader then counted it
    with leading(database):
        wait_for(lambda: bool(states()))
        keep(database, build_event("2"), build_event("3"))
        promote(database, build_version(database))
        promotion.roll_back(database, "billing", to=None, by="ann@example.org", reason="worse")
        wait_for(lambda: len(metric_increases(before, "clorad.gate.decisions")) == 2)
    counted = metric_increases(before, "clorad.gate.decisions")
    assert {dict(labels)["verdict"]: (dict(labels)["by"], count) for labels, count in counted.items()} == {
        "promote": ("gate", 1),
        "rollback": ("person", 1),
    }
    assert metric_increases(waits, "clorad.event.to_live") == {(): 2}


@pytest.mark.usefixtures("quickly")
def test_what_was_known_is_taken_back_while_the_ledger_is_away(database: Database) -> None:
    class Going:
        away = False

        def read(self):
            if self.away:
                raise LedgerUnavailable("gone")
            return database.read()

    going = Going()
    with leading(going):  # type: ignore[arg-type]
        wait_for(lambda: bool(states()))
        going.away = True
        wait_for(lambda: metric_values(SEEN) == {})
        going.away = False
        wait_for(lambda: bool(states()))


def test_an_agent_is_in_one_state() -> None:
    fields = {
        "agent": "a", "champion": 0, "untaught": 5, "oldest_age_s": 9.0, "gate_new": 50, "refusals": 0,
        "news": True, "has_candidate": False,
    }  # fmt: skip
    for changed, state in (
        ({}, "due"),
        ({"untaught": 0}, "idle"),
        ({"untaught": 1}, "waiting"),
        ({"gate_new": 0}, "waiting"),
        ({"news": False}, "waiting"),
        ({"usage": Usage(tokens=9, tokens_max=5, wait_s=60.0)}, "waiting"),
        ({"has_candidate": True}, "judging"),
        ({"is_learning": True, "untaught": 0}, "learning"),
    ):
        assert agent_state(Backlog(**fields | changed), FRESHNESS) == state
