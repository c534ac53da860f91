"""What events may do without a signature, and on whose events they may act."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ledger.database import Database
from ledger.events import Event, Kind, Reason, Role, Status, Trust
from ledger.identity import ensure_identity
from ledger.intake.ownership import TrustLevels
from ledger.intake.withdrawn import reverted
from ledger.learning import event_queries
from ledger.learning.agents import Agent, declare
from ledger.schema import events
from ledger.upkeep.forgetting import forget
from ledger.upkeep.mentions import Subject
from tests.unit.ledger.event_builder import build_event, build_outcome, build_retraction, keep
from tests.unit.ledger.ledger_builder import build_memory_ledger

SIGNED = Trust.SIGNED


def demand(database: Database, **levels: Trust) -> None:
    declare(database, Agent(name="billing", base_hash="b" * 64, trust=TrustLevels(**levels)))


def dead(database: Database, event: Event) -> dict[Reason, int]:
    return dict(keep(database, event).dead)


class TestTheLeastLevel:
    @pytest.mark.parametrize(
        ("use", "event"),
        [
            ("teach", build_event("1")),
            ("teach", build_event("2", role=None, interaction="i")),
            ("judge", build_event("3", role=Role.GATE)),
            ("judge", build_event("4", role=Role.DEV, kind=Kind.APPROVE)),
            ("judge", build_event("5", role=None, interaction="i")),
            ("amend", build_event("6", key="k", revision=2)),
            ("amend", build_outcome("7", -1.0, amends="k")),
            ("retract", build_retraction("8", "1")),
        ],
    )
    def test_an_unsigned_event_that_an_agent_demands_signed_is_a_dead_letter(
        self, database: Database, use: str, event: Event
    ) -> None:
        demand(database, **{use: SIGNED})
        assert dead(database, event) == {Reason.UNSIGNED: 1}

    def test_other_events_of_the_agent_need_no_signature(self, database: Database) -> None:
        demand(database, judge=SIGNED, amend=SIGNED, retract=SIGNED)
        assert dead(database, build_event("1", key="k")) == {}

    def test_a_signed_event_is_stored_with_who_signed_it(self, database: Database) -> None:
        demand(database, teach=SIGNED)
        signed = build_event("1", trust=SIGNED, signer="gateway", key_id="k-1", rights=frozenset({"act"}))
        assert dead(database, signed) == {}
        with database.read() as connection:
            [kept] = event_queries.event_by_uid(connection, "dev#1")
        assert kept.event == replace(signed, acts=True)

    def test_the_levels_are_those_of_the_last_declaration(self, database: Database) -> None:
        demand(database, teach=SIGNED)
        demand(database)
        assert dead(database, build_event("1")) == {}


def statuses(database: Database) -> dict[str, Status]:
    """The status of every event by its uid."""
    with database.read() as connection:
        rows = connection.execute(select(events.c.source, events.c.id, events.c.status))
        return {f"{row.source}#{row.id}": Status(row.status) for row in rows}


def both_orders(*contents: Event) -> list[tuple[Event, ...]]:
    return list(permutations(contents))


ANN = build_event("of ann", source="ide", key="k", author="ann")
SIGNED_ANN = replace(ANN, trust=SIGNED, signer="ide-1")


def of_mallory(id: str, **changed: object) -> Event:
    return build_event(id, **{"source": "web", "author": "mallory"} | changed)


STRANGE_ACTS = {
    "a correction that amends": of_mallory("x", amends="k"),
    "a correction that amends with a high revision": of_mallory("x", amends="k", revision=2**31 - 1),
    "an outcome that reverts": replace(build_outcome("x", -1.0, amends="k"), source="web", author="mallory"),
    "an outcome that confirms": replace(build_outcome("x", 1.0, amends="k"), source="web", author="mallory"),
    "a retraction": build_retraction("x", "of ann", of="ide", source="web", author="mallory"),
    "a retraction from her source": build_retraction("x", "of ann", of="ide", source="ide", author="mallory"),
    "a retraction in her name": build_retraction("x", "of ann", of="ide", source="web", author="ann"),
    "a retraction in an administrator's name": build_retraction(
        "x", "of ann", of="ide", source="web", author="root"
    ),
    "an unsigned event with a right": of_mallory("x", amends="k", rights=frozenset({"act"})),
    "a signed event with another right": of_mallory(
        "x", amends="k", trust=SIGNED, rights=frozenset({"judge"})
    ),
}
ADMINISTRATORS = frozenset({"root"})


class TestActsOnOthersEvents:
    @pytest.mark.parametrize("first", ["event", "act"])
    @pytest.mark.parametrize("act", STRANGE_ACTS.values(), ids=STRANGE_ACTS)
    def test_they_are_kept_without_effect_in_any_order(
        self, database: Database, act: Event, first: str
    ) -> None:
        for event in (ANN, act) if first == "event" else (act, ANN):
            keep(database, event, administrators=ADMINISTRATORS)
        assert statuses(database) == {"ide#of ann": Status.OPEN, f"{act.source}#x": Status.NOT_YOURS}
        with database.read() as connection:
            assert reverted(connection, [1, 2]) == frozenset()

    def test_those_that_arrive_are_counted(self, database: Database) -> None:
        keep(database, ANN)
        assert keep(database, STRANGE_ACTS["a retraction"]).not_yours == 1

    @pytest.mark.parametrize(
        "act",
        [
            of_mallory("x", amends="k", revision=2),
            replace(build_outcome("x", -1.0, amends="k"), source="web", author="lead"),
            build_retraction("x", "of ann", of="ide", source="web", author="lead"),
        ],
        ids=["amends", "reverts", "retracts"],
    )
    @pytest.mark.parametrize("first", ["event", "act"])
    @pytest.mark.parametrize("by", ["right", "administrator"])
    def test_a_signed_right_to_act_or_a_signed_administrator_gives_them_effect(
        self, database: Database, act: Event, first: str, by: str
    ) -> None:
        signed = replace(act, trust=SIGNED, rights=frozenset({"act"} if by == "right" else ()))
        admins = frozenset({act.author}) if by == "administrator" else frozenset()
        for event in (SIGNED_ANN, signed) if first == "event" else (signed, SIGNED_ANN):
            keep(database, event, administrators=admins)
        with database.read() as connection:
            is_reverted = bool(reverted(connection, [1, 2]))
        assert is_reverted or statuses(database)["ide#of ann"] in (Status.SUPERSEDED, Status.RETRACTED)

    def test_another_revision_under_her_key_is_another_feedback(self, database: Database) -> None:
        highest = of_mallory("x", key="k", revision=2**31 - 1)
        own = replace(ANN, id="second", digest="2", revision=2)
        for order in both_orders(ANN, highest, own):
            with database.write() as connection:
                connection.execute(events.delete())
            for event in order:
                keep(database, event)
            assert statuses(database) == {
                "ide#of ann": Status.SUPERSEDED,
                "ide#second": Status.OPEN,
                "web#x": Status.OPEN,
            }

    @pytest.mark.parametrize(
        "act",
        [
            replace(ANN, id="x", digest="x", key=None, amends="k"),
            build_retraction("x", "of ann", of="ide", source="ide"),
        ],
        ids=["amends", "retracts"],
    )
    def test_who_does_not_sign_cannot_act_on_what_is_signed_in_the_same_name(
        self, database: Database, act: Event
    ) -> None:
        keep(database, SIGNED_ANN, act)
        assert statuses(database) == {"ide#of ann": Status.OPEN, "ide#x": Status.NOT_YOURS}

    def test_a_retraction_that_names_another_agent_has_no_effect(self, database: Database) -> None:
        demand(database, retract=SIGNED)
        keep(database, ANN, build_retraction("x", "of ann", of="ide", source="ide", agent="sql"))
        assert statuses(database) == {"ide#of ann": Status.OPEN, "ide#x": Status.NOT_YOURS}

    def test_an_act_that_was_refused_counts_once_its_own_event_arrives(self, database: Database) -> None:
        keep(database, of_mallory("strange", key="k"), replace(ANN, id="x", key=None, amends="k"))
        assert statuses(database)["ide#x"] is Status.NOT_YOURS
        keep(database, ANN)
        assert statuses(database) == {
            "web#strange": Status.OPEN,
            "ide#x": Status.OPEN,
            "ide#of ann": Status.SUPERSEDED,
        }


class TestAnIdThatSomebodyElseUsedFirst:
    SQUATTER = replace(ANN, author="mallory", digest="other bytes", key=None)

    def test_does_not_take_it_away(self, database: Database) -> None:
        keep(database, self.SQUATTER)
        kept = keep(database, ANN)
        assert (kept.stored, dict(kept.dead)) == (1, {})
        assert list(statuses(database).values()) == [Status.OPEN, Status.OPEN]
        with database.read() as connection:
            authors = [one.event.author for one in event_queries.event_by_uid(connection, "ide#of ann")]
        assert authors == ["mallory", "ann"], "a receipt by the sent id shows both"

    def test_sent_again_it_is_a_duplicate_and_another_body_a_conflict(self, database: Database) -> None:
        keep(database, self.SQUATTER, ANN)
        again = keep(database, ANN, self.SQUATTER, replace(ANN, digest="changed"))
        assert (again.stored, again.duplicates, dict(again.dead)) == (0, 2, {Reason.CONFLICT: 1})

    def test_its_author_retracts_it_by_the_id_that_was_sent(self, database: Database) -> None:
        keep(database, self.SQUATTER, ANN)
        keep(database, build_retraction("r", "of ann", of="ide", source="ide"))
        by_author = self.status_by_author(database)
        assert (by_author["ann"], by_author["mallory"]) == (Status.RETRACTED, Status.OPEN)

    def test_a_retraction_sent_first_meets_only_its_own_authors_event(self, database: Database) -> None:
        keep(database, build_retraction("r", "of ann", of="ide", source="ide"))
        keep(database, self.SQUATTER)
        assert statuses(database)["ide#r"] is Status.NOT_YOURS
        keep(database, ANN)
        assert statuses(database)["ide#r"] is Status.APPLIED
        by_author = self.status_by_author(database)
        assert (by_author["ann"], by_author["mallory"]) == (Status.RETRACTED, Status.OPEN)

    def test_the_name_it_is_stored_by_can_be_nobody_elses(self, database: Database) -> None:
        keep(database, self.SQUATTER, ANN)
        [stored_id] = [uid.partition("#")[2] for uid in statuses(database) if "~" in uid]
        again = keep(database, replace(self.SQUATTER, id=stored_id, digest="a third body"))
        assert again.stored == 1
        assert len(statuses(database)) == 3

    def test_a_signed_event_gets_its_id_from_who_only_claimed_its_name(self, database: Database) -> None:
        keep(database, replace(ANN, digest="forged in her name"))
        assert keep(database, SIGNED_ANN).stored == 1

    def test_a_copy_without_its_signature_that_came_first_is_confirmed_by_the_signed_one(
        self, database: Database
    ) -> None:
        keep(database, ANN)
        assert keep(database, SIGNED_ANN).duplicates == 1
        with database.read() as connection:
            [kept] = event_queries.event_by_uid(connection, "ide#of ann")
        assert (kept.event.trust, kept.event.signer) == (SIGNED, "ide-1")

    def status_by_author(self, database: Database) -> dict[str, Status]:
        query = select(events.c.author, events.c.status).where(events.c.kind != Kind.RETRACTION.value)
        with database.read() as connection:
            return {row.author: Status(row.status) for row in connection.execute(query)}


_ACTS = st.builds(
    lambda kind, number, key, amends, revision, target, source: {
        "kind": kind,
        "id": f"m{number}",
        "key": key,
        "amends": amends,
        "revision": revision,
        "target": target,
        "source": source,
    },
    st.sampled_from([Kind.CORRECTION, Kind.OUTCOME, Kind.RETRACTION]),
    st.integers(0, 99),
    st.sampled_from([None, "k", "l"]),
    st.sampled_from([None, "k", "l"]),
    st.integers(1, 5),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["ide", "web"]),
)
HONEST = (
    build_event("a", source="ide", key="k"),
    build_event("b", source="ide", key="k", revision=2),
    build_event("c", source="ide", amends="k", revision=2),
    build_outcome("d", -1.0, source="ide", amends="l"),
    build_event("e", source="ide", key="l"),
    build_event("f", source="ide", key="m"),
    build_retraction("g", "f", of="ide", source="ide"),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(_ACTS, max_size=4, unique_by=lambda act: act["id"]), st.randoms(use_true_random=False))
def test_whatever_a_stranger_sends_ones_own_events_end_as_without_him(acts, random) -> None:
    strange = []
    for act in acts:
        target = act.pop("target")
        if act["kind"] is Kind.RETRACTION:
            own = {"source": act["source"], "author": "mallory"}
            strange.append(build_retraction(act["id"], target, of="ide", **own))
        else:
            data = {"data": {"value": -1.0}} if act["kind"] is Kind.OUTCOME else {}
            strange.append(build_event(author="mallory", digest=act["id"], **act, **data))
    mixed = [*HONEST, *strange]
    random.shuffle(mixed)
    alone, disturbed = _honest_alone(), ledger_after(mixed)
    assert {uid: disturbed[uid] for uid in alone} == alone


@cache
def _honest_alone() -> dict[str, tuple[Status, bool]]:
    return ledger_after(HONEST)


def ledger_after(contents: Sequence[Event]) -> dict[str, tuple[Status, bool]]:
    """Ann's events by id in a new ledger, with whether an outcome reverted them."""
    database = build_memory_ledger("billing", "sql")
    for event in contents:
        keep(database, event)
    with database.read() as connection:
        rows = connection.execute(select(events).where(events.c.author == "ann")).all()
        reverted_seqs = reverted(connection, [row.seq for row in rows])
        return {row.id: (Status(row.status), row.seq in reverted_seqs) for row in rows}


def test_a_retraction_whose_conversation_was_forgotten_still_meets_its_own_authors_event_only(
    database: Database,
) -> None:
    ensure_identity(database)
    keep(
        database, build_retraction("r", "of ann", of="ide", source="ide", author="mallory", conversation="c")
    )
    forgotten = forget(
        database, Subject(kind="conversation", names=frozenset({"c"})), whom="w", by="dpo", reason="asked"
    )
    assert forgotten.counts["events"] == 1
    keep(database, ANN)
    assert statuses(database) == {"ide#of ann": Status.OPEN, "ide#r": Status.NOT_YOURS}
