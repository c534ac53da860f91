"""The outcomes of live conversations as the ledger has them now: which stand, and what each is about."""

from ledger.database import Database
from ledger.intake.ownership import JUDGE_RIGHT
from ledger.versions.live_feedback import SEVERAL
from ledger.versions.live_outcomes import LiveOutcome, live_outcomes, outcomes_stamp
from tests.unit.ledger.event_builder import (
    INTERACTIONS,
    build_event,
    build_interaction,
    build_outcome,
    build_retraction,
    keep,
)


def read(database: Database) -> list[LiveOutcome]:
    with database.read() as connection:
        return live_outcomes(connection, "billing", after_seq=0)


def stamp(database: Database) -> tuple[int, int]:
    with database.read() as connection:
        return outcomes_stamp(connection, "billing")


def test_an_outcome_names_its_conversation_or_its_interaction(database: Database) -> None:
    captured = build_interaction("i1", conversation="talk", version="v2-bbbbbb")
    keep(database, captured, build_interaction("i2"), partition=INTERACTIONS)
    keep(
        database,
        build_outcome("o1", 1.0, interaction="i1", conversation="other"),
        build_outcome("o2", 0.5, interaction="i2"),
        build_outcome("o3", -1.0, conversation="walk"),
        build_outcome("o4", 0.0),
    )
    outcomes = read(database)
    assert [outcome.conversation for outcome in outcomes] == ["talk", "i2", "walk", None]
    assert [outcome.version for outcome in outcomes] == ["v2-bbbbbb", "v0", None, None]
    assert [outcome.value for outcome in outcomes] == [1.0, 0.5, -1.0, 0.0]
    assert outcomes[0].answered_s is not None


def test_an_outcome_that_was_retracted_or_replaced_is_not_read(database: Database) -> None:
    keep(
        database,
        build_outcome("o1", 1.0, conversation="c1"),
        build_outcome("o2", 1.0, conversation="c2", key="k"),
    )
    before = stamp(database)
    keep(
        database,
        build_retraction("r", "o1"),
        build_outcome("o3", -1.0, amends="k", revision=2),
    )
    assert [(outcome.conversation, outcome.value) for outcome in read(database)] == [("c2", -1.0)]
    assert stamp(database) != before


def test_an_outcome_that_amends_a_persons_feedback_is_not_about_the_answer(database: Database) -> None:
    keep(
        database,
        build_event("e1", key="k", conversation="c1"),
        build_outcome("o1", 1.0, amends="k", conversation="c1"),
    )
    assert read(database) == []


def test_the_stamp_changes_when_the_interaction_arrives_that_an_outcome_names(database: Database) -> None:
    keep(database, build_outcome("o1", 1.0, interaction="i1", role=None, prompt_group=None))
    before = stamp(database)
    keep(database, build_interaction("i1", conversation="talk"), partition=INTERACTIONS)
    assert stamp(database) != before
    assert [outcome.conversation for outcome in read(database)] == ["talk"]


def test_an_author_with_the_right_to_judge_is_trusted(database: Database) -> None:
    keep(
        database,
        build_outcome("o1", 1.0, conversation="c1", rights=frozenset({JUDGE_RIGHT})),
        build_outcome("o2", 1.0, conversation="c2"),
    )
    assert [outcome.is_trusted for outcome in read(database)] == [True, False]


def test_an_outcome_that_names_a_conversation_alone_knows_who_answered_it(database: Database) -> None:
    keep(
        database,
        build_interaction("a", conversation="one", version="v1-aaaaaa"),
        build_interaction("b", conversation="one", version="v1-aaaaaa"),
        build_interaction("c", conversation="two", version="v1-aaaaaa"),
        build_interaction("d", conversation="two", version="v2-bbbbbb"),
        build_interaction("e", conversation="three", version="v1-aaaaaa", agent="sql"),
        partition=INTERACTIONS,
    )
    keep(database, *(build_outcome(name, 1.0, conversation=name) for name in ("one", "two", "three")))
    outcomes = read(database)
    assert [outcome.version for outcome in outcomes] == ["v1-aaaaaa", SEVERAL, None]
    assert [outcome.answered_s is None for outcome in outcomes] == [False, False, True]
