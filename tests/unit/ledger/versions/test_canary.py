"""The steps of a version: a share of the traffic, a larger one, all of it, or none again."""

import pytest
from sqlalchemy import select

from ledger import schema
from ledger.database import Database
from ledger.errors import FlipRefused
from ledger.learning.backlog import backlogs
from ledger.versions import canary, decisions, desired, promotion
from ledger.versions.canary import ALL, CanaryStep, share_at
from ledger.versions.decisions import Verdict
from ledger.versions.desired import Purpose
from ledger.versions.evidence import Evidence, LiveComparison
from ledger.versions.lineage import Version
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import build_version, promote, refuse

WORSE = Evidence(reasons=("worse on live traffic",), rolled_back_to=0)


@pytest.fixture
def candidate(database: Database) -> Version:
    keep(database, build_event("1"))
    return build_version(database)


def give(database: Database, version: Version, share: float) -> None:
    evidence = Evidence(reasons=(f"answers {share:.0%}",))
    promotion.give_share(database, version, share, by="canary", evidence=evidence)


def steps(database: Database, version: Version) -> list[tuple[float, bool]]:
    with database.read() as connection:
        found = canary.steps_of(connection, version.agent, version.number)
    return [(step.share, step.is_open) for step in found]


def share(database: Database) -> float:
    with database.read() as connection:
        return desired.share_of(connection, "billing")


def generation(database: Database) -> int:
    with database.read() as connection:
        return desired.generation(connection)


def statuses(database: Database) -> dict[int, str]:
    with database.read() as connection:
        rows = connection.execute(select(schema.events.c.seq, schema.events.c.status))
        return {row.seq: row.status for row in rows}


def test_a_share_is_a_decision_that_gateways_hear_of(database: Database, candidate: Version) -> None:
    before = generation(database)
    give(database, candidate, 0.05)
    assert share(database) == 0.05
    assert generation(database) == before + 1
    with database.read() as connection:
        [_, decision] = decisions.decisions_of(connection, "billing")
    assert (decision.verdict, decision.by, decision.evidence.reasons) == (
        Verdict.CANARY,
        "canary",
        ("answers 5%",),
    )


def test_a_larger_share_ends_the_step_before(database: Database, candidate: Version) -> None:
    give(database, candidate, 0.05)
    give(database, candidate, 0.25)
    assert steps(database, candidate) == [(0.05, False), (0.25, True)]
    assert share(database) == 0.25


def test_a_promotion_ends_the_steps_and_the_version_is_watched(
    database: Database, candidate: Version
) -> None:
    give(database, candidate, 0.25)
    promote(database, candidate)
    assert steps(database, candidate) == [(0.25, False), (ALL, True)]
    assert share(database) == 0.0


@pytest.mark.parametrize("verdict", [Verdict.REFUSE, Verdict.ABSTAIN])
def test_a_canary_that_is_settled_loses_its_share_and_gateways_hear_of_it(
    database: Database, candidate: Version, verdict: Verdict
) -> None:
    give(database, candidate, 0.25)
    before = generation(database)
    refuse(database, candidate, verdict)
    assert (share(database), steps(database, candidate)) == (0.0, [(0.25, False)])
    assert generation(database) == before + 1


def test_a_withdrawn_canary_answers_nobody_and_its_own_events_are_held(
    database: Database, candidate: Version
) -> None:
    keep(database, build_event("2"))  # not taught
    give(database, candidate, 0.05)
    before = generation(database)
    promotion.withdraw(database, candidate, by="canary", evidence=WORSE)
    assert (share(database), steps(database, candidate)) == (0.0, [(0.05, False)])
    assert generation(database) == before + 1
    assert statuses(database) == {1: "held", 2: "open"}
    with database.read() as connection:
        assert desired.champion(connection, "billing") == 0
        last = decisions.decisions_of(connection, "billing", candidate.number)[-1]
    assert (last.verdict, last.by, last.evidence) == (Verdict.ROLLBACK, "canary", WORSE)


def test_a_withdrawn_canary_makes_the_next_try_harder_and_a_rolled_back_champion_does_not(
    database: Database, candidate: Version
) -> None:
    give(database, candidate, 0.05)
    promotion.withdraw(database, candidate, by="canary", evidence=WORSE)
    with database.read() as connection:
        assert backlogs(connection)[0].refusals == 1
    keep(database, build_event("2"))
    promote(database, build_version(database))
    promotion.roll_back(database, "billing", to=None, by="ann", reason="too short")
    with database.read() as connection:
        assert backlogs(connection)[0].refusals == 0


def test_a_settled_version_gets_no_share_and_is_not_withdrawn_again(
    database: Database, candidate: Version
) -> None:
    refuse(database, candidate)
    with pytest.raises(FlipRefused, match="already decided"):
        give(database, candidate, 0.05)
    with pytest.raises(FlipRefused, match="already decided"):
        promotion.withdraw(database, candidate, by="canary", evidence=WORSE)


def test_a_candidate_whose_parent_went_gets_no_share(database: Database) -> None:
    keep(database, build_event("1"))
    promote(database, build_version(database))
    keep(database, build_event("2"))
    second = build_version(database)
    with database.write() as connection:
        connection.execute(
            schema.desired.update().where(schema.desired.c.purpose == Purpose.SERVE.value).values(number=0)
        )
    with pytest.raises(FlipRefused, match="parent v1 is no longer champion"):
        give(database, second, 0.05)


def test_a_rollback_stops_where_another_version_became_champion(
    database: Database, candidate: Version
) -> None:
    promote(database, candidate)
    with pytest.raises(FlipRefused, match="v7 is no longer champion"):
        promotion.roll_back(database, "billing", to=0, by="canary", reason="worse", champion_is=7)
    promotion.roll_back(database, "billing", to=0, by="canary", reason="worse", champion_is=1)
    assert steps(database, candidate) == [(ALL, False)]


def test_what_was_compared_is_kept_with_the_decision(database: Database, candidate: Version) -> None:
    live = LiveComparison(
        share=0.05, conversations=90, capital=130.0, signals={"correction": {"canary": 9, "champion": 40}}
    )
    give(database, candidate, 0.05)
    promotion.withdraw(database, candidate, by="canary", evidence=Evidence(reasons=("worse",), live=live))
    with database.read() as connection:
        assert decisions.decisions_of(connection, "billing", 1)[-1].evidence.live == live


def test_the_share_at_a_moment_is_that_of_the_step_then() -> None:
    def step(place: int, share: float, began_s: float, ended_s: float | None) -> CanaryStep:
        return CanaryStep(
            agent="billing",
            number=1,
            place=place,
            share=share,
            through_seq=0,
            began_s=began_s,
            ended_s=ended_s,
        )

    found = [step(0, 0.05, 10.0, 20.0), step(1, 0.25, 20.0, None)]
    assert [share_at(found, at_s) for at_s in (9.0, 10.0, 19.9, 20.0, 99.0)] == [0.0, 0.05, 0.05, 0.25, 0.25]
