"""Feedback that people withdrew, in whichever way, neither teaches nor judges."""

import pytest

from ledger.database import Database
from ledger.errors import FlipRefused, TurnVoid
from ledger.events import CORRECTING, Event, Kind, Role, Status
from ledger.intake.withdrawn import no_evidence, reverted
from ledger.learning.backlog import backlogs
from ledger.learning.event_queries import event_by_uid, events_by_key, mark, usable
from ledger.learning.silent_replies import StayingReplies, staying_replies
from ledger.versions import promotion
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Pair
from tests.unit.ledger.event_builder import build_event, build_outcome, build_retraction, keep
from tests.unit.ledger.turn_builder import (
    build_decision,
    build_evidence,
    build_version,
    open_pass,
    promote,
    record,
)

WAYS = {
    "retracted": build_retraction("r", "1"),
    "replaced": build_event("2", amends="k", role=Role.GATE),
    "reverted": build_outcome("2", -0.5, amends="k", role=None, prompt_group=None),
}


def gate(id: str, **more: object) -> Event:
    return build_event(id, role=Role.GATE, **more)


def evidence(database: Database) -> set[str]:
    with database.read() as connection:
        return {kept.event.id for kept in usable(connection, "billing", role=Role.GATE, kinds=CORRECTING)}


@pytest.mark.parametrize("first", ["target", "news"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_taken_back_is_no_evidence(database: Database, way: str, first: str) -> None:
    target, news = gate("1", key="k"), WAYS[way]
    keep(database, *((target, news) if first == "target" else (news, target)))
    keep(database, gate("other", key="l"), gate("plain"))
    replaced = {"2"} if way == "replaced" else set()
    assert evidence(database) == {"other", "plain"} | replaced
    with database.read() as connection:
        assert no_evidence(connection, "billing", ["dev#1", "dev#other", "dev#plain"]) == {"dev#1"}
        waiting = {backlog.agent: backlog.gate_new for backlog in backlogs(connection)}
    assert waiting["billing"] == 2 + len(replaced)


def test_what_people_came_to_disagree_about_is_no_evidence_until_it_is_settled(database: Database) -> None:
    keep(database, gate("1"), gate("2"))
    for status, gone in ((Status.CONTESTED, {"dev#1"}), (Status.OPEN, set())):
        mark(database, {1: (status, "why")})
        with database.read() as connection:
            assert no_evidence(connection, "billing", ["dev#1", "dev#2"]) == gone


@pytest.mark.parametrize(
    "news",
    [
        build_outcome("2", 0.5, amends="k", role=None, prompt_group=None),  # kept
        build_outcome("2", -0.5, amends="other key"),
        build_outcome("2", -0.5, amends="k", agent="sql"),
        build_outcome("2", -0.5, key="k"),  # shares the name, amends nothing
    ],
)
def test_what_was_not_taken_back_is_evidence(database: Database, news: Event) -> None:
    keep(database, gate("1", key="k"), news)
    assert evidence(database) == {"1"}


def test_a_revert_that_is_taken_back_itself_reverts_nothing(database: Database) -> None:
    keep(database, gate("1", key="k"), build_outcome("2", -0.5, amends="k", role=None, prompt_group=None))
    assert evidence(database) == set()
    keep(database, build_retraction("r", "2"))
    assert evidence(database) == {"1"}


def test_an_approval_whose_reply_did_not_last_keeps_nothing_in_place(database: Database) -> None:
    keep(
        database,
        build_event("1", kind=Kind.APPROVE, key="k", data={"said": "yes"}),
        build_outcome("2", -1.0, amends="k"),
    )
    with database.read() as connection:
        assert usable(connection, "billing", role=Role.TRAIN, kinds=(Kind.APPROVE,)) == []
    with database.read() as connection:
        known = staying_replies(connection, settle_s=60.0, enough=5)
    assert known["billing"] == StayingReplies(anchors=0, suite=0)


def test_reverts_are_found_by_number_whenever_they_were_said(database: Database) -> None:
    # A revert that comes first, with a prompt of its own, has been looked at and teaches nothing by then.
    keep(
        database, build_outcome("no", -1.0, amends="k"), build_event("1", key="k"), build_event("2", key="l")
    )
    with database.read() as connection:
        seqs = {id: event_by_uid(connection, f"dev#{id}")[0].seq for id in "12"}
        assert reverted(connection, seqs.values()) == {seqs["1"]}


def test_what_outcomes_refer_to_is_found_with_what_replaced_it(database: Database) -> None:
    keep(
        database,
        build_event("1", key="k"),
        build_event("2", amends="k"),
        build_outcome("3", 1.0, amends="k"),
        build_event("4", key="l"),
    )
    with database.read() as connection:
        amended = events_by_key(connection, "billing", ["k"])
        assert [kept.event.id for kept in amended] == ["1", "2"]
        then = events_by_key(connection, "billing", ["k"], through_seq=amended[0].seq)
        assert then == amended[:1], "a turn that is trained again does not see what was stored since"


@pytest.mark.parametrize("replaced", [True, False])
def test_a_turn_that_shows_again_what_was_retracted_meanwhile_is_void(
    database: Database, replaced: bool
) -> None:
    keep(database, build_event("1", key="k"))
    promote(database, build_version(database))
    keep(database, build_outcome("2", 1.0, amends="k", role=None, prompt_group=None))
    [turn] = open_pass(database, "billing").turns
    assert len(turn.plan.events) == 1
    if replaced:  # then there is something that lasted
        keep(database, build_event("3", amends="k"))
    keep(database, build_retraction("r", "1"))
    if replaced:
        record(database, turn)
    else:
        with pytest.raises(TurnVoid, match="events changed"):
            record(database, turn)


@pytest.mark.parametrize("way", WAYS)
def test_a_candidate_judged_by_what_was_taken_back_is_not_promoted(database: Database, way: str) -> None:
    keep(database, gate("1", key="k"), build_event("t"))
    made = build_version(database)
    judged = build_evidence("dev#1", suite=(Pair(event="dev#elsewhere", before=1.0, after=1.0),))
    keep(database, WAYS[way])
    with pytest.raises(FlipRefused, match="1 of the events it was judged by"):
        promotion.promote(database, made, build_decision(made, Verdict.PROMOTE, evidence=judged))
