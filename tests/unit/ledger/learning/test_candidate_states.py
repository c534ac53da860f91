"""How far candidates are, as the ledger says."""

from ledger.database import Database
from ledger.learning.candidate_states import CandidateState, candidate_states
from ledger.versions import decisions, desired
from ledger.versions.decisions import BY_GATE, Decision, Verdict
from ledger.versions.desired import Purpose
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import Version
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import open_pass, promote, record


def build_candidate(database: Database, event: str) -> Version:
    keep(database, build_event(event))
    [turn] = open_pass(database, "billing").turns
    return record(database, turn)


def states(database: Database) -> list[CandidateState]:
    with database.read() as connection:
        return candidate_states(connection)


def test_a_new_candidate_is_wanted_nowhere_and_stands_against_the_base(database: Database) -> None:
    candidate = build_candidate(database, "1")
    [state] = states(database)
    assert (state.candidate, state.champion, dict(state.wanted)) == (candidate, None, {})
    assert not state.has_passed


def test_a_candidate_that_passed_has_the_decision_while_it_is_wanted(database: Database) -> None:
    candidate = build_candidate(database, "1")
    decision = Decision(
        agent="billing",
        number=candidate.number,
        verdict=Verdict.CANARY,
        by=BY_GATE,
        evidence=Evidence(),
        through_seq=candidate.through_seq,
    )
    with database.write() as connection:
        decisions.decide(connection, decision)
        desired.want(connection, candidate, Purpose.CANARY)
    assert [state.has_passed for state in states(database)] == [True]
    with database.write() as connection:
        desired.no_longer_want(connection, "billing", Purpose.CANARY)
    assert not any(state.has_passed for state in states(database))


def test_the_next_candidate_stands_against_the_champion_that_was_promoted(database: Database) -> None:
    first = build_candidate(database, "1")
    promote(database, first)
    assert states(database) == [], "it has its verdict"
    second = build_candidate(database, "2")
    [state] = states(database)
    assert (state.candidate, state.champion) == (second, first)
