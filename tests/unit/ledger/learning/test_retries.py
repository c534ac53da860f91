"""What follows a refused candidate, from stored turns and decisions alone."""

from pathlib import Path

import pytest

from ledger.database import Database
from ledger.learning.agents import Agent, declare
from ledger.learning.last_tries import last_tries
from ledger.learning.retries import BatchPart, LastTry, NextTry, Remedy, Retry, next_try
from ledger.reports.upcoming import upcoming_try, what_follows
from ledger.versions.causes import Cause
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import BASE, Version
from ledger.versions.promotion import roll_back
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import BASE_HASH, build_version, promote, refuse

SHORT = "not better: 2 wins, 1 losses, 7 wrong as before, p = 0.5000 > 0.0250"
HARM = "harm: 8 of 13 prompts became worse, 0 better"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = Database(f"sqlite:///{tmp_path / 'clorad.db'}")
    opened.migrate()
    declare(opened, Agent(name="billing", base_hash=BASE_HASH))
    keep(opened, build_event("1"))
    yield opened
    opened.close()


def build_last(**changed: object) -> LastTry:
    fields = {
        "number": 3, "parent": BASE, "retry": None, "verdict": Verdict.REFUSE, "by": "gate",
        "causes": frozenset({Cause.NOT_BETTER}), "new": (1, 2, 3), "through_seq": 9,
    }  # fmt: skip
    return LastTry(**{**fields, **changed})


def after(last: LastTry | None, *, champion: int = BASE, refusals: int = 1, refusals_max: int = 3) -> NextTry:
    return next_try(last, champion=champion, refusals=refusals, refusals_max=refusals_max)


def build_refused(database: Database, *reasons: str, **changed: object) -> Version:
    """A candidate that the gate refused."""
    version = build_version(database, **changed)
    refuse(database, version, evidence=Evidence(reasons=reasons))
    return version


def upcoming(database: Database) -> NextTry:
    with database.read() as connection:
        return upcoming_try(connection, "billing", refusals_max=3)


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (Cause.NOT_BETTER, Remedy.LONGER),
        (Cause.HARM, Remedy.ANCHORS),
        (Cause.KL, Remedy.ANCHORS),
        (Cause.REPETITIVE, Remedy.ANCHORS),
    ],
)
def test_the_cause_of_a_refusal_decides_what_is_tried_next(cause: Cause, remedy: Remedy) -> None:
    upcoming = after(build_last(causes=frozenset({cause})))
    assert upcoming == NextTry(retry=Retry(after=3, remedies=(remedy,)), at_once=True)


def test_a_remedy_is_added_to_the_one_before_and_each_is_tried_once() -> None:
    longer = Retry(after=1, remedies=(Remedy.LONGER,))
    harmed = after(build_last(retry=longer, causes=frozenset({Cause.HARM})))
    assert harmed.retry == Retry(after=3, remedies=(Remedy.LONGER, Remedy.ANCHORS))
    again_short = after(build_last(retry=longer))
    assert again_short.divides == BatchPart(
        seqs=(1, 2, 3), after=3, remedies=(Remedy.LONGER,), tried_seq=9
    ), "it keeps its steps"


def test_a_batch_that_was_refused_as_often_as_the_bound_says_is_divided() -> None:
    longer = Retry(after=1, remedies=(Remedy.LONGER,))
    harmed = build_last(retry=longer, causes=frozenset({Cause.HARM}))
    assert after(harmed, refusals_max=3).at_once
    assert after(harmed, refusals_max=2).divides
    assert after(build_last(), refusals_max=1).divides


WAITING = (BatchPart(seqs=(7, 8), after=2),)


def test_a_part_that_is_refused_is_divided_at_once_and_the_others_wait_on() -> None:
    part = Retry(after=2, is_part=True, waiting=WAITING)
    upcoming = after(build_last(retry=part))
    assert upcoming.divides == BatchPart(seqs=(1, 2, 3), after=3, tried_seq=9)
    assert upcoming.retry == Retry(after=None, waiting=WAITING)
    assert upcoming.in_parts == 5


def test_a_part_that_could_not_be_judged_waits_behind_the_others() -> None:
    part = Retry(after=2, is_part=True, waiting=WAITING)
    upcoming = after(build_last(retry=part, verdict=Verdict.ABSTAIN))
    back = BatchPart(seqs=(1, 2, 3), after=3, tried_seq=9)
    assert upcoming == NextTry(retry=Retry(after=None, waiting=(*WAITING, back)))


def test_after_a_promoted_part_the_others_are_tried() -> None:
    part = Retry(after=2, is_part=True, waiting=WAITING)
    promoted = build_last(retry=part, verdict=Verdict.PROMOTE)
    assert after(promoted, champion=3).retry == Retry(after=None, waiting=WAITING)
    assert after(promoted, champion=2) == NextTry(), "it was rolled back since"


def test_after_many_refusals_without_a_promotion_nothing_is_tried_by_itself() -> None:
    assert after(build_last(), refusals=11).at_once
    assert after(build_last(), refusals=12) == NextTry()


@pytest.mark.parametrize(
    "changed",
    [
        {"by": "ann"},
        {"verdict": Verdict.ABSTAIN},
        {"verdict": None},
        {"causes": frozenset({Cause.PARITY})},
        {"causes": frozenset()},
    ],
    ids=["by a person", "an abstention", "no version", "parity", "unknown reasons"],
)
def test_what_another_recipe_cannot_mend_waits_for_something_new(changed: dict[str, object]) -> None:
    assert not after(build_last(**changed)).at_once


def test_a_promotion_and_another_champion_begin_anew() -> None:
    longer = Retry(after=1, remedies=(Remedy.LONGER,))
    assert after(build_last(retry=longer, verdict=Verdict.PROMOTE), champion=3) == NextTry()
    assert after(build_last(retry=longer), champion=2) == NextTry()
    assert after(None) == NextTry()


def test_the_next_try_is_derived_from_stored_rows(database: Database) -> None:
    assert upcoming(database) == NextTry()
    build_refused(database, SHORT)
    second = upcoming(database)
    assert second == NextTry(retry=Retry(after=1, remedies=(Remedy.LONGER,)), at_once=True)
    assert upcoming(database) == second, "a learner that died in between plans the same"
    build_refused(database, HARM, retry=second.retry)
    third = upcoming(database)
    assert third.retry == Retry(after=2, remedies=(Remedy.LONGER, Remedy.ANCHORS))
    promote(database, build_version(database, retry=third.retry))
    assert upcoming(database) == NextTry()


def test_a_refusal_of_a_version_whose_parent_was_rolled_back_is_not_followed(database: Database) -> None:
    promote(database, build_version(database))
    keep(database, build_event("2"))
    build_refused(database, SHORT)
    assert upcoming(database).at_once
    roll_back(database, "billing", to=None, by="ann", reason="")
    assert upcoming(database) == NextTry()


def test_the_last_decision_about_the_last_turn_counts(database: Database) -> None:
    build_refused(database, SHORT)
    version = build_version(database)
    with database.read() as connection:
        assert last_tries(connection)["billing"].verdict is None, "it is undecided"
    refuse(database, version, Verdict.ABSTAIN)
    assert not upcoming(database).at_once


def test_an_abstention_for_want_of_a_suite_is_followed_by_the_same_turn() -> None:
    no_suite = {"verdict": Verdict.ABSTAIN, "causes": frozenset({Cause.NO_SUITE})}
    assert after(build_last(**no_suite)) == NextTry(at_once=True, needs_suite=True)
    longer = Retry(after=1, remedies=(Remedy.LONGER,))
    assert after(build_last(**no_suite, retry=longer)).retry == longer
    part = Retry(after=2, is_part=True, waiting=WAITING)
    again = after(build_last(**no_suite, retry=part)).retry
    assert again == Retry(after=None, waiting=(BatchPart(seqs=(1, 2, 3), after=2), *WAITING))


def test_parts_are_stored_with_their_turn(database: Database) -> None:
    parts = (BatchPart(seqs=(4, 5), after=1, remedies=(Remedy.LONGER,), tried_seq=3),)
    retry = Retry(after=1, remedies=(Remedy.ANCHORS,), is_part=True, waiting=parts)
    build_version(database, retry=retry, judged_seq=0)
    with database.read() as connection:
        assert last_tries(connection)["billing"].retry == retry


def test_what_follows_a_refusal_is_told_before_and_after_it_came(database: Database) -> None:
    first = build_refused(database, SHORT)

    def follows(number: int) -> str | None:
        with database.read() as connection:
            return what_follows(connection, "billing", number, refusals_max=3)

    assert (
        follows(first.number)
        == "another try after v1, with twice as many steps and the best of several learning rates"
    )
    second = build_refused(database, SHORT, retry=upcoming(database).retry)
    assert (
        follows(first.number)
        == "v2, another try after v1, with twice as many steps and the best of several learning rates"
    )
    assert follows(second.number) == "the batch of v2 in halves"
    third = build_version(database)
    assert follows(third.number) is None
