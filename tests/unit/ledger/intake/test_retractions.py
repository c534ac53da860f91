"""A retraction takes an event back, whenever it arrives, if its sender may do so."""

import pytest

from ledger.database import Database
from ledger.events import Status, Trust
from ledger.learning import event_queries
from tests.unit.ledger.event_builder import (
    build_event,
    build_interaction,
    build_retraction,
    keep,
)


def status(database: Database, id: str, source: str = "dev") -> Status:
    with database.read() as connection:
        events = event_queries.event_by_uid(connection, id)
    [event] = [event for event in events if event.event.source == source]
    return event.status


def test_an_event_can_be_retracted(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"))
    keep(database, build_retraction("r", "1"))
    assert status(database, "1") is Status.RETRACTED
    assert status(database, "2") is Status.OPEN
    assert status(database, "r") is Status.APPLIED


def test_a_retraction_may_come_first(database: Database) -> None:
    keep(database, build_retraction("r", "1"))
    keep(database, build_event("1"))
    assert status(database, "1") is Status.RETRACTED


def test_a_retraction_may_come_in_the_same_transaction(database: Database) -> None:
    keep(
        database,
        build_event("1"),
        build_retraction("r", "1"),
        build_retraction("s", "2"),
        build_event("2"),
    )
    assert status(database, "1") is status(database, "2") is Status.RETRACTED


@pytest.mark.parametrize("first", ["target", "retraction"])
def test_only_its_own_author_or_an_administrator_who_signs_retracts(database: Database, first: str) -> None:
    strange = build_retraction("r", "1", source="ops", author="eve")
    for event in (build_event("1"), strange) if first == "target" else (strange, build_event("1")):
        keep(database, event)
    assert status(database, "1") is Status.OPEN
    assert status(database, "r", "ops") is Status.NOT_YOURS

    admins = frozenset({"root"})
    ruled = build_retraction("s", "2", source="ops", author="root", trust=Trust.SIGNED)
    for event in (build_event("2"), ruled) if first == "target" else (ruled, build_event("2")):
        keep(database, event, administrators=admins)
    assert status(database, "2") is Status.RETRACTED


@pytest.mark.parametrize("first", ["target", "retraction"])
def test_another_agents_event_stays_and_the_retraction_says_why(database: Database, first: str) -> None:
    target, retraction = build_event("1", agent="sql"), build_retraction("r", "1", agent="billing")
    for event in (target, retraction) if first == "target" else (retraction, target):
        keep(database, event)
    assert (status(database, "1"), status(database, "r")) == (Status.OPEN, Status.NOT_YOURS)


def test_another_source_with_the_same_id_is_not_meant(database: Database) -> None:
    keep(
        database,
        build_event("1"),
        build_event("1", source="ops", digest="another"),
        build_retraction("r", "1"),
    )
    assert status(database, "1") is Status.RETRACTED
    assert status(database, "1", "ops") is Status.OPEN


def test_a_retraction_cannot_be_retracted(database: Database) -> None:
    keep(database, build_event("1"), build_retraction("r", "1"), build_retraction("s", "r"))
    assert status(database, "r") is Status.APPLIED
    assert status(database, "1") is Status.RETRACTED


def test_an_event_that_waits_for_its_interaction_stays_retracted_when_it_comes(database: Database) -> None:
    keep(
        database,
        build_event("1", interaction="i", role=None, prompt_group=None),
        build_retraction("r", "1"),
    )
    keep(database, build_interaction("i"))
    assert status(database, "1") is Status.RETRACTED


@pytest.mark.parametrize("first", ["target", "retraction"])
def test_the_longest_names_allowed_fit(database: Database, first: str) -> None:
    source, id = "s" * 400, "i" * 200
    target = build_event(id, source=source)
    retraction = build_retraction("r" * 200, id, source=source, of=source)
    for event in (target, retraction) if first == "target" else (retraction, target):
        keep(database, event)
    assert status(database, id, source) is Status.RETRACTED
