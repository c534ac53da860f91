"""Which captured replies nobody objected to."""

from typing import Any

import pytest

from ledger.database import Database
from ledger.events import Kind, Role
from ledger.learning.silent_replies import silent_replies
from tests.unit.ledger.event_builder import (
    INTERACTIONS,
    build_event,
    build_interaction,
    build_retraction,
    keep,
)
from tests.unit.ledger.turn_builder import build_version, promote


def silent(database: Database, **given: Any) -> list[str]:
    options = {"champion": 0, "role": Role.TRAIN, "settle_s": 0.0} | given
    with database.read() as connection:
        return [reply.id for reply in silent_replies(connection, "billing", **options)]


def test_an_objection_is_any_event_about_the_reply_or_its_conversation_but_an_approval(
    database: Database,
) -> None:
    names = ("quiet", "corrected", "approved", "talked", "wrongly")
    talk = {"talked": "c1", "approved": "c2"}
    keep(
        database,
        *(build_interaction(name, conversation=talk.get(name)) for name in names),
        partition=INTERACTIONS,
    )
    keep(
        database,
        build_event("1", interaction="corrected"),
        build_event("2", interaction="approved", kind=Kind.APPROVE),
        build_event("3", conversation="c1", kind=Kind.ABORT),
        build_event("4", interaction="wrongly"),
        build_retraction("r", "4"),
    )
    assert sorted(silent(database)) == ["approved", "quiet", "wrongly"]


@pytest.mark.parametrize("kind", [Kind.CORRECTION, Kind.TAKEOVER, Kind.ABORT, Kind.REJECT, Kind.OUTCOME])
def test_an_objection_to_one_turn_leaves_the_later_turns_of_its_conversation_alone(
    database: Database, kind: Kind
) -> None:
    turns = [build_interaction(f"t{turn}", conversation="c1", turn=turn) for turn in range(3)]
    other = build_interaction("other", conversation="c2", turn=0)
    keep(database, *turns, other, partition=INTERACTIONS)
    keep(database, build_event("1", interaction="t1", kind=kind))
    assert silent(database) == ["other"]


def test_silence_about_one_of_several_choices_says_nothing(database: Database) -> None:
    asked = {"one": {"n": 1}, "two": {"n": 2}, "odd": {"n": "x"}, "unset": {}}
    keep(
        database,
        *(build_interaction(name, sampling=sampling) for name, sampling in asked.items()),
        partition=INTERACTIONS,
    )
    assert sorted(silent(database)) == ["one", "unset"]


def test_an_approval_of_one_turn_says_nothing_against_the_others(database: Database) -> None:
    turns = [build_interaction(f"t{turn}", conversation="c1", turn=turn) for turn in range(2)]
    keep(database, *turns, partition=INTERACTIONS)
    keep(database, build_event("1", interaction="t1", kind=Kind.APPROVE))
    assert sorted(silent(database)) == ["t0", "t1"]


def test_people_have_some_time_to_object(database: Database) -> None:
    keep(database, build_interaction("fresh"), partition=INTERACTIONS)
    assert silent(database, settle_s=3600.0) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"finish_reason": "length"},
        {"completion": ""},
        {"role": Role.GATE},
        {"agent": "sql"},
        {"version": "v9-abcdef"},
    ],
)
def test_replies_of_others_of_another_role_or_cut_short_are_left_out(
    database: Database, changed: dict[str, Any]
) -> None:
    keep(database, build_interaction("odd", **changed), build_interaction("right"), partition=INTERACTIONS)
    assert silent(database) == ["right"]


def test_what_the_champion_and_its_ancestors_said_counts_the_newest_last(database: Database) -> None:
    keep(database, build_event("1"))
    refused = build_version(database)
    keep(database, build_event("2"))
    champion = build_version(database)
    promote(database, champion)
    keep(database, build_interaction("base"), partition=INTERACTIONS)
    keep(database, build_interaction("refused", version=refused.name), partition=INTERACTIONS)
    keep(database, build_interaction("champion", version=champion.name), partition=INTERACTIONS)
    assert silent(database, champion=champion.number) == ["base", "champion"]
    assert silent(database, champion=champion.number, newest=1) == ["champion"]
    assert silent(database) == ["base"]
