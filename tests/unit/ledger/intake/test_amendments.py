"""Revisions and amendments: the same result whatever order events arrive in."""

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from ledger import schema
from ledger.database import Database
from ledger.events import Event, Interaction, Kind, Role, Status
from ledger.learning import event_queries
from tests.unit.ledger.event_builder import (
    INTERACTIONS,
    build_event,
    build_interaction,
    build_outcome,
    build_retraction,
    keep,
)
from tests.unit.ledger.ledger_builder import build_memory_ledger


def status(database: Database, id: str, source: str = "dev") -> Status:
    with database.read() as connection:
        [found] = [kept for kept in event_queries.event_by_uid(connection, id) if kept.event.source == source]
    return found.status


class TestRevisions:
    def test_only_the_newest_revision_stays_usable(self, database: Database) -> None:
        for order, revision in enumerate((2, 1, 3)):
            keep(database, build_event(f"e{order}", key="k", revision=revision))
        assert [status(database, f"e{order}") for order in range(3)] == [
            Status.SUPERSEDED,
            Status.SUPERSEDED,
            Status.OPEN,
        ]

    def test_an_amendment_replaces_what_it_names(self, database: Database) -> None:
        keep(database, build_event("1", key="k"), build_event("2", amends="k", revision=2))
        assert status(database, "1") is Status.SUPERSEDED
        assert status(database, "2") is Status.OPEN

    def test_a_correction_of_a_correction_replaces_it_though_nobody_counted_revisions(
        self, database: Database
    ) -> None:
        keep(database, build_event("1", key="k"), build_event("2", amends="k"))
        assert (status(database, "1"), status(database, "2")) == (Status.SUPERSEDED, Status.OPEN)

    def test_of_two_corrections_of_a_correction_the_later_one_of_the_same_author_counts(
        self, database: Database
    ) -> None:
        keep(database, build_event("late", amends="k", occurred_s=9.0), build_event("1", key="k"))
        keep(
            database,
            build_event("early", amends="k", occurred_s=8.0),
            build_event("unknown when", amends="k"),
        )
        keep(database, build_event("of bob", amends="k", author="bob", occurred_s=7.0))
        ends = {id: status(database, id) for id in ("1", "early", "late", "unknown when", "of bob")}
        assert ends == {
            "1": Status.SUPERSEDED,
            "early": Status.SUPERSEDED,
            "late": Status.OPEN,
            "unknown when": Status.OPEN,  # a clock is no order where it was not given
            "of bob": Status.NOT_YOURS,  # what he amends is ann's
        }

    def test_events_that_share_a_key_by_chance_leave_each_other_alone(self, database: Database) -> None:
        keep(
            database,
            build_event("1", key="k", occurred_s=1.0),
            build_event("2", key="k", author="bob", occurred_s=2.0),
        )
        assert status(database, "1") is status(database, "2") is Status.OPEN

    def test_outcomes_that_complete_a_correction_are_all_kept(self, database: Database) -> None:
        keep(database, build_event("1", key="k"))
        keep(database, *(build_outcome(id, 0.5, amends="k", occurred_s=float(id)) for id in "23"))
        assert [status(database, id) for id in "123"] == [Status.OPEN] * 3

    @pytest.mark.parametrize("was", [Status.KNOWN, Status.BARREN, Status.HELD, Status.CONTESTED])
    def test_what_learning_made_of_an_event_ends_with_its_amendment(
        self, database: Database, was: Status
    ) -> None:
        keep(database, build_event("1", key="k"))
        with database.write() as connection:
            connection.execute(update(schema.events).values(status=was.value))
        keep(database, build_event("2", amends="k"))
        assert status(database, "1") is Status.SUPERSEDED

    def test_an_outcome_that_amends_a_correction_adds_to_it(self, database: Database) -> None:
        keep(database, build_event("1", key="k"), build_outcome("2", 0.5, amends="k", revision=2))
        assert status(database, "1") is status(database, "2") is Status.OPEN

    @pytest.mark.parametrize("amended_first", [True, False])
    def test_an_outcome_that_only_amends_takes_the_role_of_what_it_amends(
        self, database: Database, amended_first: bool
    ) -> None:
        late = build_outcome("2", 0.5, amends="k", role=None, prompt_group=None)
        first, second = build_event("1", key="k", role=Role.GATE), late
        keep(database, *((first, second) if amended_first else (second, first)))
        with database.read() as connection:
            [kept] = event_queries.event_by_uid(connection, "dev#2")
        assert (kept.status, kept.event.role) == (Status.OPEN, Role.GATE)

    def test_a_role_reaches_the_amendment_with_the_interaction_that_brings_it(
        self, database: Database
    ) -> None:
        keep(database, build_event("1", key="k", interaction="i", role=None, prompt_group=None))
        keep(database, build_outcome("2", 0.5, amends="k", role=None, prompt_group=None))
        assert status(database, "2") is Status.WAITING
        keep(database, build_interaction("i"))
        assert status(database, "2") is Status.OPEN

    def test_another_agents_key_is_another_key(self, database: Database) -> None:
        keep(database, build_event("1", key="k"), build_event("2", key="k", agent="sql", revision=2))
        assert status(database, "1") is Status.OPEN

    def test_an_old_revision_is_replaced_while_it_waits(self, database: Database) -> None:
        waiting = build_event("1", key="k", interaction="i", role=None, prompt_group=None)
        keep(database, waiting, build_event("2", key="k", revision=2))
        keep(database, build_interaction("i"))
        assert status(database, "1") is Status.SUPERSEDED


CAST: list[Event | Interaction] = [
    build_event("a", key="k", revision=1),
    build_event("b", key="k", revision=2),
    build_event("c", amends="k", revision=3, interaction="i", role=None, prompt_group=None),
    build_retraction("r", "b"),
    build_retraction("s", "c", source="ops", author="eve"),
    build_interaction("i", role=Role.GATE),
]


def statuses(database: Database, order: tuple[Event | Interaction, ...]) -> dict[str, str]:
    for event in order:
        keep(database, event)
    with database.read() as connection:
        rows = connection.execute(select(schema.events.c.id, schema.events.c.status))
        return {row.id: row.status for row in rows}


def test_some_orders_of_arrival_end_alike(database: Database) -> None:
    # Every order in memory is the property below; these few run on both databases.
    expected = {"a": "superseded", "b": "retracted", "c": "open", "r": "applied", "s": "not_yours"}
    for place, order in enumerate(list(permutations(CAST))[::180]):
        with database.write() as connection:
            for table in (schema.events, schema.interactions):
                connection.execute(table.delete())
        assert statuses(database, order) == expected, place


_PARTS = st.lists(
    st.builds(
        dict,
        kind=st.sampled_from([Kind.CORRECTION, Kind.OUTCOME, Kind.RETRACTION]),
        id=st.sampled_from("abcd"),
        target=st.sampled_from("abcd"),
        source=st.sampled_from(["dev", "ops"]),
        key=st.sampled_from([None, "k", "l"]),
        amends=st.sampled_from([None, "k", "l"]),
        revision=st.integers(1, 2),
        author=st.sampled_from(["ann", "bob"]),
        occurred_s=st.sampled_from([None, 1.0, 2.0]),
        waits=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda part: (part["source"], part["id"]),
)


_FIELDS = ("source", "key", "amends", "revision", "author", "occurred_s")


def build_event_of(part: dict[str, object]) -> Event:
    fields = {name: part[name] for name in _FIELDS}
    id = str(part["id"])
    if part["kind"] is Kind.RETRACTION:
        return build_retraction(id, str(part["target"]), source=str(part["source"]), of=str(part["source"]))
    kind = {"kind": part["kind"], "data": {"value": 0.5}} if part["kind"] is Kind.OUTCOME else {}
    waits = {"interaction": "i", "role": None, "prompt_group": None} if part["waits"] else {}
    return build_event(id, digest=f"{part['source']} {id}", **fields, **kind, **waits)


@given(parts=_PARTS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_order_of_arrival_never_matters(parts: list[dict[str, object]], data: st.DataObject) -> None:
    contents: list[Event | Interaction] = [*map(build_event_of, parts), build_interaction("i")]
    results = []
    for order in (tuple(contents), tuple(data.draw(st.permutations(contents)))):
        database = build_memory_ledger("billing")
        for event in order:
            keep(database, event)
        with database.read() as connection:
            columns = (schema.events.c.source, schema.events.c.id, schema.events.c.status)
            results.append({tuple(row) for row in connection.execute(select(*columns))})
    assert results[0] == results[1]
    assert {row[:2] for row in results[0] if row[2] == "superseded"} == replaced_naively(contents)


def replaced_naively(contents: Sequence[Event | Interaction]) -> set[tuple[str, str]]:
    """Sources and ids of events that are replaced and not retracted, by the contract, for each pair."""
    events = [content for content in contents if isinstance(content, Event)]
    retracted = {
        (target.source, target.id)
        for event, target in product(events, events)
        if event.kind is Kind.RETRACTION
        and event.data["target"] == {"source": target.source, "id": target.id}
        and is_same_owner(event, target)
    }
    return {
        (older.source, older.id)
        for older, newer, key in product(events, events, "kl")
        if older.kind is newer.kind is not Kind.RETRACTION
        and {key} <= {older.key, older.amends}
        and {key} <= {newer.key, newer.amends}
        and replaces(newer, older, key, among=events)
        and (older.source, older.id) not in retracted
    }


def is_same_owner(one: Event, other: Event) -> bool:
    return (one.source, one.author) == (other.source, other.author)


def replaces(newer: Event, older: Event, key: str, *, among: Sequence[Event]) -> bool:
    if not is_same_owner(newer, older):
        return False
    if newer.revision != older.revision:
        return newer.revision > older.revision
    if newer.amends != key:
        return False
    if older.amends != key:
        return True
    amended = any(
        event.kind is newer.kind and event.key == key and event.amends != key and is_same_owner(newer, event)
        for event in among
    )
    times = (newer.occurred_s, older.occurred_s)
    return amended and None not in times and times[0] > times[1]


def in_conversation(id: str, **changed: Any) -> Event:
    common = {"conversation": "talk", "role": None, "prompt_group": None}
    return build_outcome(id, 1.0, **{**common, **changed})


def state_of(database: Database, id: str) -> tuple[str, str | None, str | None]:
    with database.read() as connection:
        query = select(*(schema.events.c[name] for name in ("status", "role", "prompt_group")))
        query = query.where(schema.events.c.id == id)
        return tuple(connection.execute(query).one())


@pytest.mark.parametrize("first", ["event", "interaction"])
def test_an_event_that_names_a_conversation_alone_waits_for_its_first_turn(
    database: Database, first: str
) -> None:
    turns = [
        build_interaction("t0", conversation="talk", turn=0, role=Role.TRAIN, prompt_group="a"),
        build_interaction("t1", conversation="talk", turn=1, role=Role.GATE, prompt_group="b"),
    ]
    other = build_interaction("x", conversation="talk", agent="sql", role=Role.GATE)
    if first == "interaction":
        keep(database, *turns, partition=INTERACTIONS)
    keep(database, in_conversation("o"), in_conversation("second", turn=1))
    if first == "event":
        keep(database, other, partition=INTERACTIONS)
        assert state_of(database, "o") == ("waiting", None, None), "another agent's conversation"
        keep(database, *turns, partition=INTERACTIONS)
    assert state_of(database, "o") == ("open", "train", "a")
    assert state_of(database, "second") == ("open", "gate", "b")
    with database.read() as connection:
        [second] = event_queries.event_by_uid(connection, "dev#second")
    assert second.event.interaction == "t1", "the turn that it names is what it is about"


def test_a_turn_of_several_choices_is_not_known_by_its_number(database: Database) -> None:
    turns = [build_interaction(f"t.{n}", conversation="talk", turn=0, sampling={"n": 2}) for n in range(2)]
    keep(database, *turns, partition=INTERACTIONS)
    keep(database, in_conversation("o"), in_conversation("first", turn=0))
    assert state_of(database, "o")[0] == "open"
    assert state_of(database, "first")[0] == "waiting"


def test_a_turn_that_was_captured_without_its_number_is_counted(database: Database) -> None:
    spoken = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    captured = build_interaction("t1", conversation="talk", messages=(*spoken, spoken[0]), prompt_group="b")
    keep(database, captured, partition=INTERACTIONS)
    keep(database, in_conversation("first", turn=0), in_conversation("second", turn=1))
    assert state_of(database, "first")[0] == "waiting"
    assert state_of(database, "second") == ("open", "train", "b")


def test_feedback_that_names_an_interaction_does_not_wait_for_its_conversation(database: Database) -> None:
    keep(database, in_conversation("o", interaction="i"))
    keep(database, build_interaction("t0", conversation="talk"), partition=INTERACTIONS)
    assert state_of(database, "o")[0] == "waiting"
