"""Signals of people: which conversation an event is about, and which version answered it."""

from typing import Any

import pytest

from ledger.database import Database
from ledger.events import NEWER_CORRECTION, Kind, Signal, Status
from ledger.learning.event_decisions import restore, retract
from ledger.learning.event_queries import event_by_uid, mark
from ledger.versions.live_feedback import LiveFeedback, live_feedback, uncounted_feedback
from tests.unit.ledger.event_builder import (
    INTERACTIONS,
    build_event,
    build_interaction,
    build_outcome,
    build_retraction,
    keep,
)


def read(database: Database, after_seq: int = 0, **since: int) -> list[LiveFeedback]:
    with database.read() as connection:
        return live_feedback(connection, "billing", after_seq=after_seq, **since)


def counted(database: Database) -> list[int]:
    """Events that count; all others of these kinds are said not to."""
    seqs = [feedback.seq for feedback in read(database)]
    with database.read() as connection:
        uncounted = uncounted_feedback(connection, "billing", after_seq=0)
    assert not uncounted & set(seqs)
    return seqs


def said(database: Database, id: str, **changed: Any) -> LiveFeedback:
    keep(database, build_event(id, **changed))
    return read(database)[-1]


def test_each_kind_of_complaint_is_a_signal_and_praise_is_none(database: Database) -> None:
    kinds = (Kind.CORRECTION, Kind.OVERRIDE, Kind.TAKEOVER, Kind.ABORT, Kind.REJECT, Kind.APPROVE)
    keep(database, *(build_event(kind.value, kind=kind) for kind in kinds))
    keep(database, build_outcome("bad", -0.5), build_outcome("good", 0.5), build_retraction("r", "approve"))
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


@pytest.mark.parametrize(
    "withdrawing",
    [
        build_retraction("r", "1"),
        build_event("r", amends="k", revision=2),
        build_outcome("r", -1.0, amends="k"),
    ],
    ids=["retracted", "amended", "reverted"],
)
def test_what_its_author_took_back_counts_no_more(database: Database, withdrawing: Any) -> None:
    keep(database, build_event("1", key="k"), build_event("2"))
    assert counted(database) == [1, 2]
    keep(database, withdrawing)
    assert counted(database) == ([2, 3] if withdrawing.kind is Kind.CORRECTION else [2])


def test_what_a_person_retracts_and_restores_by_a_command_is_followed(database: Database) -> None:
    keep(database, build_event("1"))
    with database.read() as connection:
        [kept] = event_by_uid(connection, "dev#1")
    retract(database, kept, by="lea", reason="wrong")
    assert counted(database) == []
    restore(database, kept, (), by="lea", reason="right after all")
    assert counted(database) == [1]


def test_what_people_disagree_about_counts_only_once_it_is_settled(database: Database) -> None:
    keep(database, build_event("1"), build_event("2"))
    mark(database, {1: (Status.CONTESTED, "people disagree about this prompt: event dev#2")})
    assert counted(database) == [2]
    mark(database, {1: (Status.OPEN, "settled")})
    assert counted(database) == [1, 2]


def test_an_event_that_acts_on_others_without_the_right_counts_for_nothing(database: Database) -> None:
    keep(database, build_event("1", key="k"), build_event("2", author="mallory", amends="k", revision=2))
    assert counted(database) == [1]


def test_the_same_correction_in_another_conversation_leaves_both_answers_bad(database: Database) -> None:
    keep(database, build_event("1", conversation="c1"), build_event("2", conversation="c2"))
    mark(database, {1: (Status.SUPERSEDED, f"{NEWER_CORRECTION}: event dev#2")})
    assert counted(database) == [1, 2]
    mark(database, {1: (Status.SUPERSEDED, "settled")})
    assert counted(database) == [1, 2], "withdrawn events stay withdrawn"


def test_a_new_revision_of_older_feedback_is_about_an_older_answer(database: Database) -> None:
    keep(database, build_event("1", key="k"))
    keep(database, build_event("2", key="k", revision=2), build_event("3", amends="k", revision=3))
    keep(database, build_event("4", author="mallory", key="k"), build_event("5", key="other"))
    assert [feedback.seq for feedback in read(database, after_seq=1)] == [4, 5]
    assert [feedback.seq for feedback in read(database, after_seq=4, since_seq=1)] == [5]
