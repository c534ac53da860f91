"""People are told each fact once, whatever the receiver does and however often the role starts again."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from daemon.notices import telling
from daemon.notices.courier import Courier
from daemon.notices.telling import Receiver, Telling, look
from feedback.backoff import Backoff
from ledger.database import Database
from ledger.events import Status
from ledger.notices import queue
from ledger.notices.kinds import NoticeKind
from ledger.schema import events
from ledger.versions import promotion
from ledger.versions.decisions import BY_CANARY, Verdict
from tests.fakes.receiver import FakeReceiver, receiving
from tests.meters import metric_increases, metric_values
from tests.unit.daemon.notices.notice_rules import RULES
from tests.unit.ledger.event_builder import build_event, build_unusable, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import build_version, promote, refuse

SECRET = b"a secret of twenty-four bytes or more"
ALL = frozenset(NoticeKind)
OVER = threading.Event()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = build_ledger(tmp_path / "clorad.db", "billing")
    yield opened
    opened.close()


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with receiving() as listening:
        yield listening


def build_telling(database: Database, receiver: FakeReceiver, **changed: float) -> Telling:
    """A sender that was just started, as after a restart of its role."""
    return Telling(
        database=database,
        receiver=Receiver(
            name="ops",
            courier=Courier(receiver.url, SECRET, timeout_s=5.0),
            kinds=ALL,
            form="standard",
            interval_s=changed.get("interval_s", 0.0),
            give_up_s=changed.get("give_up_s", 3600.0),
        ),
        backoff=Backoff(first_s=0.0, s_max=0.0),
    )


def contest(database: Database, status: Status, *ids: str) -> None:
    with database.write() as connection:
        connection.execute(update(events).where(events.c.id.in_(ids)).values(status=status.value))


def tell(database: Database, *ids: str) -> None:
    """Several contested events are noted for the receiver."""
    keep(database, *(build_event(id) for id in ids))
    contest(database, Status.CONTESTED, *ids)
    look(database, RULES, {"ops": ALL})


def facts(receiver: FakeReceiver) -> list[list[str]]:
    """What each post told."""
    return [[notice["fact"] for notice in json.loads(body)["data"]["notices"]] for _, body in receiver.posts]


def test_a_fact_is_told_once(database: Database, receiver: FakeReceiver) -> None:
    own = build_telling(database, receiver)
    for _ in range(3):
        tell(database, "1")
        own.step(OVER)
    assert facts(receiver) == [["contested 1"]]
    [(_, body)] = receiver.posts
    [notice] = json.loads(body)["data"]["notices"]
    assert notice["link"] == "https://clorad.example/review?only=contested&agent=billing"


def test_what_happens_within_the_interval_goes_into_the_next_message(
    database: Database, receiver: FakeReceiver
) -> None:
    times_s = iter([0.0, 0.0, 10.0, 59.0, 61.0, 61.0])
    own = build_telling(database, receiver, interval_s=60.0)
    own.clock = lambda: next(times_s)
    for id in "123":
        tell(database, id)
        own.step(OVER)
    own.step(OVER)
    assert facts(receiver) == [["contested 1"], ["contested 2", "contested 3"]]


def test_a_message_goes_on_after_a_restart_under_its_id(database: Database, receiver: FakeReceiver) -> None:
    receiver.status = 503
    tell(database, "1")
    build_telling(database, receiver).step(OVER)
    tell(database, "2")
    receiver.status = 204
    build_telling(database, receiver).step(OVER)
    assert facts(receiver) == [["contested 1"], ["contested 1"]], "a message does not change between tries"
    ids = [headers["webhook-id"] for headers, _ in receiver.posts]
    assert ids[0] == ids[1]
    build_telling(database, receiver).step(OVER)
    assert facts(receiver)[2:] == [["contested 2"]]


def test_nothing_is_lost_while_the_receiver_is_away(database: Database, receiver: FakeReceiver) -> None:
    receiver.status = 500
    own = build_telling(database, receiver)
    for id in "123":
        tell(database, id)
        own.step(OVER)
    receiver.status = 200
    own.step(OVER)
    own.step(OVER)
    assert facts(receiver)[-2:] == [["contested 1"], ["contested 2", "contested 3"]]
    assert queue.depth(database, "ops").waiting == 0


def test_what_is_over_before_it_was_sent_is_not_told(database: Database, receiver: FakeReceiver) -> None:
    tell(database, "1", "2")
    contest(database, Status.OPEN, "1")
    look(database, RULES, {"ops": ALL})
    build_telling(database, receiver).step(OVER)
    assert facts(receiver) == [["contested 2"]]


def test_a_receiver_gets_the_kinds_that_it_wants(database: Database) -> None:
    kinds = {"ops": frozenset({NoticeKind.CONTESTED}), "all": ALL}
    keep(database, *(build_unusable() for _ in range(3)))
    tell(database, "1")
    look(database, RULES, kinds)
    assert [queue.depth(database, name).waiting for name in kinds] == [1, 2]
    look(database, RULES, {"all": ALL})
    assert queue.depth(database, "ops").waiting == 0, "it is no longer in the settings"


def test_a_message_that_is_refused_again_and_again_makes_room_for_the_next(
    database: Database, receiver: FakeReceiver
) -> None:
    receiver.status = 400
    own, before = build_telling(database, receiver), metric_values("clorad.notices.tries")
    tell(database, "1")
    for _ in range(telling.REFUSALS_MAX):
        own.step(OVER)
    tell(database, "2")
    receiver.status = 200
    own.step(OVER)
    assert facts(receiver)[-1] == ["contested 2"]
    counted = metric_increases(before, "clorad.notices.tries")
    assert {dict(labels)["fate"]: count for labels, count in counted.items()} == {
        "failed": telling.REFUSALS_MAX - 1,
        "given_up": 1,
        "delivered": 1,
    }


def test_a_message_that_nobody_takes_is_given_up_after_its_time(
    database: Database, receiver: FakeReceiver
) -> None:
    receiver.status = 500
    tell(database, "1")
    build_telling(database, receiver, give_up_s=-1.0).step(OVER)
    assert queue.depth(database, "ops").waiting == 0


def test_withdrawals_before_the_first_look_are_history_and_later_ones_are_told(
    database: Database, receiver: FakeReceiver
) -> None:
    withdraw(database, "1")
    look(database, RULES, {"ops": ALL})
    withdraw(database, "2")
    look(database, RULES, {"ops": ALL})
    look(database, RULES, {"ops": ALL})
    own = build_telling(database, receiver)
    own.step(OVER)
    own.step(OVER)
    assert [[fact.partition(" ")[0] for fact in message] for message in facts(receiver)] == [["rolled-back"]]


def test_a_full_queue_loses_no_withdrawal(
    database: Database, receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(database, RULES, {"ops": ALL})
    monkeypatch.setattr(queue, "WAITING_MAX", 1)
    tell(database, "1")
    withdraw(database, "2")
    look(database, RULES, {"ops": ALL})
    assert queue.depth(database, "ops").waiting == 1
    own = build_telling(database, receiver)
    own.step(OVER)
    look(database, RULES, {"ops": ALL})
    own.step(OVER)
    assert [message[0].partition(" ")[0] for message in facts(receiver)] == ["contested", "rolled-back"]


def test_too_many_dead_letters_are_told_again_after_there_were_few(
    database: Database, receiver: FakeReceiver
) -> None:
    own = build_telling(database, receiver)
    keep(database, *(build_unusable() for _ in range(3)))
    few = replace(RULES, dead_letters=9)
    for rules in (RULES, RULES, few, RULES):
        look(database, rules, {"ops": ALL})
        own.step(OVER)
        keep(database, build_unusable())
    assert facts(receiver) == [["dead-letters 3"], ["dead-letters 6"]]


def test_the_loop_ends_while_a_receiver_hangs(database: Database, receiver: FakeReceiver) -> None:
    receiver.slow = True
    tell(database, "1")
    over = threading.Event()
    own = build_telling(database, receiver)
    thread = threading.Thread(target=own.run, args=(over,), daemon=True)
    thread.start()
    while not receiver.posts:
        thread.join(0.01)
    over.set()
    thread.join(timeout=20.0)
    assert not thread.is_alive()
    assert queue.depth(database, "ops").waiting == 1, "it is told by the next leader"
    assert metric_values("clorad.notices.waiting") == {}


def withdraw(database: Database, id: str) -> None:
    keep(database, build_event(id))
    promote(database, build_version(database))
    promotion.roll_back(database, "billing", to=None, by=BY_CANARY, reason="worse")


def test_an_abstention_is_no_fact_by_itself(database: Database) -> None:
    keep(database, build_event("1"))
    refuse(database, build_version(database), Verdict.ABSTAIN)
    assert look(database, RULES, {"ops": ALL}) == 0
