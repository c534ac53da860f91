"""Signals of people: which conversation an event is about, and which version answered it."""

from typing import Any

from ledger.database import Database
from ledger.events import Kind, Signal
from ledger.versions.live_feedback import LiveFeedback, live_feedback
from tests.unit.ledger.event_builder import (
    INTERACTIONS,
    build_event,
    build_interaction,
    build_outcome,
    build_retraction,
    keep,
)


def read(database: Database, after_seq: int = 0) -> list[LiveFeedback]:
    with database.read() as connection:
        return live_feedback(connection, "billing", after_seq=after_seq)


def said(database: Database, id: str, **changed: Any) -> LiveFeedback:
    keep(database, build_event(id, **changed))
    return read(database)[-1]


def test_each_kind_of_complaint_is_a_signal_and_praise_is_none(database: Database) -> None:
    kinds = (Kind.CORRECTION, Kind.OVERRIDE, Kind.TAKEOVER, Kind.ABORT, Kind.REJECT, Kind.APPROVE)
    keep(database, *(build_event(kind.value, kind=kind) for kind in kinds))
    keep(database, build_outcome("bad", -0.5), build_outcome("good", 0.5), build_retraction("r", "reject"))
    assert [feedback.signal for feedback in read(database)] == [
        *[Signal.CORRECTION] * 2,
        *[Signal.INTERVENTION] * 3,
        Signal.OUTCOME,
    ]


def test_a_captured_answer_says_which_version_it_was_and_which_conversation(database: Database) -> None:
    keep(
        database,
        build_interaction("i1", version="v3-abcdef", conversation="c1"),
        build_interaction("i2", version="v3-abcdef"),
        partition=INTERACTIONS,
    )
    first, second = said(database, "1", interaction="i1"), said(database, "2", interaction="i2")
    assert (first.version, first.conversation) == ("v3-abcdef", "c1")
    assert (second.version, second.conversation) == ("v3-abcdef", "i2")
    assert first.answered_s is not None


def test_without_a_captured_answer_the_event_says_what_it_can(database: Database) -> None:
    by_both = said(database, "1", conversation="c1", interaction="i9")
    by_interaction = said(database, "2", interaction="i9")
    by_nothing = said(database, "3")
    assert (by_both.conversation, by_interaction.conversation, by_nothing.conversation) == ("c1", "i9", None)
    assert by_both.version is None


def test_only_what_is_new_is_read_and_only_of_this_agent(database: Database) -> None:
    keep(database, build_event("1"), build_event("2", agent="sql"), build_event("3"))
    assert [feedback.seq for feedback in read(database)] == [1, 3]
    assert [feedback.seq for feedback in read(database, after_seq=1)] == [3]
