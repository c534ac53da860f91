"""What a person decides about events: it counts at once, is stored with who and why, and can be undone."""

from dataclasses import replace

import pytest

from ledger.database import Database
from ledger.errors import EventDecisionRefused
from ledger.events import Event, KeptEvent, Kind, Status, Trust
from ledger.identity import ensure_identity
from ledger.intake.withdrawn import reverted
from ledger.learning import event_decisions
from ledger.learning.event_decisions import EventVerdict, decisions_about
from ledger.learning.event_queries import event_by_uid
from ledger.reports.receipts import receipt
from ledger.upkeep.forgetting import forget
from ledger.upkeep.mentions import Subject
from ledger.versions import promotion
from tests.unit.ledger.event_builder import (
    build_event,
    build_interaction,
    build_outcome,
    build_retraction,
    keep,
)
from tests.unit.ledger.turn_builder import build_version, promote

ANN = build_event("of ann", key="k")
FORGED = {
    "retracted": build_retraction("x", "of ann"),
    "amended": build_event("x", amends="k"),
    "revised": build_event("x", key="k", revision=99),
    "reverted": build_outcome("x", -1.0, amends="k"),
}


def stored(database: Database, uid: str) -> KeptEvent:
    with database.read() as connection:
        [kept] = event_by_uid(connection, uid)
    return kept


def counts(database: Database, uid: str) -> bool:
    kept = stored(database, uid)
    with database.read() as connection:
        return kept.status is Status.OPEN and not reverted(connection, [kept.seq])


def restore(database: Database, uid: str = "dev#of ann") -> int:
    kept = stored(database, uid)
    return event_decisions.restore(database, kept, [], by="lead", reason="ann did not say that").id


@pytest.mark.parametrize("act", FORGED.values(), ids=FORGED)
class TestRestoring:
    def test_the_event_counts_again_and_what_withdrew_it_does_not(
        self, database: Database, act: Event
    ) -> None:
        keep(database, ANN, act)
        assert not counts(database, "dev#of ann")
        restore(database)
        assert counts(database, "dev#of ann")
        assert stored(database, "dev#x").status is Status.UNDONE

    def test_the_act_has_no_effect_when_it_arrives_again_signed_or_not(
        self, database: Database, act: Event
    ) -> None:
        keep(database, ANN, act)
        restore(database)
        assert keep(database, act).duplicates == 1
        assert keep(database, replace(act, trust=Trust.SIGNED, signer="dev-1")).duplicates == 1
        keep(database, build_event("of bob", author="bob", key="k"))  # what shares the key is compared again
        keep(database, build_event("of ann", agent="sql", digest="another"))
        assert counts(database, "dev#of ann")
        assert stored(database, "dev#x").status is Status.UNDONE

    def test_what_its_author_says_later_counts(self, database: Database, act: Event) -> None:
        keep(database, ANN, act)
        restore(database)
        keep(database, build_event("really", key="k", revision=2))
        assert stored(database, "dev#of ann").status is Status.SUPERSEDED
        assert counts(database, "dev#really")
        keep(database, build_retraction("r", "really"))
        assert stored(database, "dev#really").status is Status.RETRACTED

    def test_undone_everything_is_as_it_was_before(self, database: Database, act: Event) -> None:
        keep(database, ANN, act)
        before = [stored(database, uid) for uid in ("dev#of ann", "dev#x")]
        number = restore(database)
        event_decisions.undo(database, number, by="boss", reason="she did say it")
        assert [stored(database, uid) for uid in ("dev#of ann", "dev#x")] == before
        assert not counts(database, "dev#of ann")

    def test_the_receipts_of_both_say_who_decided_and_why(self, database: Database, act: Event) -> None:
        keep(database, ANN, act)
        number = restore(database)
        event_decisions.undo(database, number, by="boss", reason="she did say it")
        for uid in ("dev#of ann", "dev#x"):
            with database.read() as connection:
                decided = receipt(connection, stored(database, uid)).to_json()["decided"]
            told = [(one["verdict"], one["event"], one["by"], one["reason"]) for one in decided]
            assert told == [
                ("restore", "dev#of ann", "lead", "ann did not say that"),
                ("undo", "dev#of ann", "boss", "she did say it"),
            ]
            assert [one["undone_by"] for one in decided] == [number + 1, None]


def test_an_undone_act_replaces_nothing_that_arrives_later(database: Database) -> None:
    keep(database, ANN, FORGED["revised"])
    restore(database)
    keep(database, build_event("second", key="k", revision=2))
    assert stored(database, "dev#second").status is Status.OPEN


def test_an_undone_act_that_is_retracted_or_forgotten_stays_without_effect(database: Database) -> None:
    ensure_identity(database)
    keep(database, ANN, FORGED["revised"])
    restore(database)
    keep(database, build_retraction("r", "x"))
    forget(
        database, Subject(kind="event", uids=frozenset({("dev", "x")})), whom="w", by="dpo", reason="asked"
    )
    keep(database, build_event("second", key="k", revision=2))
    assert counts(database, "dev#second")


def test_an_event_that_waits_for_its_interaction_waits_again(database: Database) -> None:
    late = build_event("late", role=None, interaction="i", data={"value": 1.0})
    keep(database, late, build_retraction("r", "late"))
    restore(database, "dev#late")
    assert stored(database, "dev#late").status is Status.WAITING
    keep(database, build_interaction("i"))
    assert stored(database, "dev#late").status is Status.OPEN


def test_an_interaction_that_arrived_meanwhile_opens_it_at_once(database: Database) -> None:
    late = build_event("late", role=None, interaction="i", data={"value": 1.0})
    keep(database, late, build_retraction("r", "late"), build_interaction("i"))
    restore(database, "dev#late")
    assert stored(database, "dev#late").status is Status.OPEN


def test_what_a_rolled_back_version_was_taught_can_be_released(database: Database) -> None:
    keep(database, ANN)
    promote(database, build_version(database))
    promotion.roll_back(database, "billing", to=None, by="ann", reason="worse")
    assert stored(database, "dev#of ann").status is Status.HELD
    number = restore(database)
    assert counts(database, "dev#of ann")
    event_decisions.undo(database, number, by="lead", reason="worse indeed")
    assert stored(database, "dev#of ann").status is Status.HELD


class TestWhatCannotBeDecided:
    def test_what_nobody_withdrew_is_not_restored(self, database: Database) -> None:
        keep(database, ANN)
        with pytest.raises(EventDecisionRefused, match="nobody withdrew it"):
            restore(database)

    def test_what_was_forgotten_is_not_restored(self, database: Database) -> None:
        ensure_identity(database)
        keep(database, ANN)
        forget(
            database,
            Subject(kind="event", uids=frozenset({("dev", "of ann")})),
            whom="w",
            by="dpo",
            reason="asked",
        )
        with pytest.raises(EventDecisionRefused, match="forgotten"):
            restore(database)

    def test_what_was_undone_is_not_restored_but_undone_again(self, database: Database) -> None:
        keep(database, ANN, FORGED["amended"])
        restore(database)
        with pytest.raises(EventDecisionRefused, match="undo that decision"):
            restore(database, "dev#x")

    def test_a_decision_is_undone_once(self, database: Database) -> None:
        keep(database, ANN, FORGED["retracted"])
        number = restore(database)
        event_decisions.undo(database, number, by="boss", reason="a slip")
        with pytest.raises(EventDecisionRefused, match=f"by decision {number + 1}"):
            event_decisions.undo(database, number, by="boss", reason="again")
        with pytest.raises(EventDecisionRefused, match="no decision"):
            event_decisions.undo(database, 99, by="boss", reason="again")

    def test_a_retraction_is_not_retracted(self, database: Database) -> None:
        keep(database, ANN, FORGED["retracted"])
        with pytest.raises(EventDecisionRefused, match="restore the event"):
            event_decisions.retract(database, stored(database, "dev#x"), by="lead", reason="wrong")


def test_a_retraction_by_command_is_taken_back_by_undo(database: Database) -> None:
    keep(database, ANN)
    decision = event_decisions.retract(database, stored(database, "dev#of ann"), by="lead", reason="a joke")
    assert stored(database, "dev#of ann").status is Status.RETRACTED
    assert decision.verdict is EventVerdict.RETRACT
    event_decisions.undo(database, decision.id, by="lead", reason="she meant it")
    assert counts(database, "dev#of ann")


def test_what_was_withdrawn_since_stays_so_when_the_decision_is_undone(database: Database) -> None:
    other = build_event("of bob", author="bob")
    keep(database, ANN, other)
    settled = event_decisions.settle(
        database,
        stored(database, "dev#of ann"),
        [stored(database, "dev#of bob")],
        by="lead",
        reason="so be it",
    )
    keep(database, build_retraction("r", "of bob", author="bob"))
    event_decisions.undo(database, settled.id, by="lead", reason="not so")
    assert stored(database, "dev#of bob").status is Status.RETRACTED
    assert stored(database, "dev#of ann").event.rights == frozenset()


def test_settling_is_undone_with_the_right_that_it_gave(database: Database) -> None:
    keep(database, ANN, build_event("of bob", author="bob"))
    before = [stored(database, uid) for uid in ("dev#of ann", "dev#of bob")]
    settled = event_decisions.settle(database, before[0], [before[1]], by="lead", reason="so be it")
    assert stored(database, "dev#of ann").event.rights == {"judge"}
    assert stored(database, "dev#of bob").status is Status.SUPERSEDED
    event_decisions.undo(database, settled.id, by="lead", reason="not so")
    assert [stored(database, uid) for uid in ("dev#of ann", "dev#of bob")] == before
    with database.read() as connection:
        assert [one.verdict for one in decisions_about(connection, before[1].seq)] == ["settle", "undo"]


def test_another_authors_act_is_left_alone(database: Database) -> None:
    stranger = replace(FORGED["amended"], author="mallory", id="y", digest="y")
    keep(database, ANN, FORGED["amended"], stranger)
    restore(database)
    assert stored(database, "dev#y").status is Status.NOT_YOURS
    assert stored(database, "dev#x").event.kind is Kind.CORRECTION
