"""Intake's transaction: every offset has one disposition, whatever arrives and however often."""

import pytest
from sqlalchemy import func, select

from ledger import schema
from ledger.database import KEYS_MAX, Database
from ledger.errors import MovedOn
from ledger.events import Event, KeptEvent, Partition, Reason, Role, Status
from ledger.intake import outbox, transaction
from ledger.learning import event_queries
from ledger.reports.audit import audit
from ledger.topic_names import FEEDBACK_TOPIC
from tests.unit.ledger.event_builder import (
    DEAD_LETTERS,
    FEEDBACK,
    INTERACTIONS,
    build_batch,
    build_event,
    build_interaction,
    build_unusable,
    keep,
)


def kept(database: Database, id: str) -> KeptEvent:
    with database.read() as connection:
        [found] = event_queries.event_by_uid(connection, id)
    return found


def count(database: Database, table: str) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(schema.metadata.tables[table])) or 0


def test_an_event_comes_back_as_it_was_kept(database: Database) -> None:
    event = build_event(
        "1",
        conversation="c",
        turn=2,
        key="k",
        revision=3,
        occurred_s=12.5,
        trace="00-abc",
        role=Role.GATE,
        data={"corrected": "SELECT 'é\u2028\U0001f600'", "comment": None, "messages": [{"role": "user"}]},
    )
    keep(database, build_event("0"), event)
    found = kept(database, "dev#1")
    assert found.event == event
    assert (found.status, found.topic, found.partition, found.offset) == (
        Status.OPEN,
        FEEDBACK_TOPIC,
        0,
        1,
    )
    assert found.received_s > 1.7e9


def test_offsets_move_with_the_events_and_holes_count(database: Database) -> None:
    assert transaction.next_offset(database, FEEDBACK) is None
    assert transaction.start_at(database, FEEDBACK, 40) == 40
    assert transaction.start_at(database, FEEDBACK, 0) == 40
    keep(database, build_event("1"), build_event("2"), holes=3)
    assert transaction.next_offset(database, FEEDBACK) == 45
    keep(database, holes=2)
    assert transaction.next_offset(database, FEEDBACK) == 47
    with database.read() as connection:
        rows = connection.execute(select(schema.ranges).order_by(schema.ranges.c.start)).all()
    assert [(row.start, row.end, row.records, row.stored) for row in rows] == [(40, 45, 2, 2), (45, 47, 0, 0)]


def test_whoever_writes_second_keeps_nothing_and_learns_where_to_read_on(database: Database) -> None:
    keep(database, build_event("1"))
    late = build_batch(0, [build_event("1"), build_event("2")])
    with pytest.raises(MovedOn) as moved:
        transaction.keep(database, [late], dead_letter_topic=DEAD_LETTERS)
    assert moved.value.next_offset == 1
    assert count(database, "events") == 1


def test_one_batch_too_late_takes_back_the_whole_transaction(database: Database) -> None:
    other = Partition(cluster_id="c1", topic=FEEDBACK_TOPIC, topic_id="t1", number=1)
    transaction.start_at(database, other, 0)
    keep(database, build_event("1"))
    batches = [build_batch(0, [build_event("2")], partition=other), build_batch(0, [build_event("3")])]
    with pytest.raises(MovedOn):
        transaction.keep(database, batches, dead_letter_topic=DEAD_LETTERS)
    assert transaction.next_offset(database, other) == 0
    assert count(database, "events") == 1


def test_a_partition_that_was_never_begun_cannot_be_written(database: Database) -> None:
    with pytest.raises(MovedOn) as moved:
        transaction.keep(database, [build_batch(0, [build_event("1")])], dead_letter_topic=DEAD_LETTERS)
    assert moved.value.next_offset is None


def test_the_same_event_at_another_offset_is_a_duplicate(database: Database) -> None:
    result = keep(database, build_event("1"), build_event("1"), build_event("2"))
    assert (result.stored, result.duplicates, dict(result.dead)) == (2, 1, {})
    result = keep(database, build_event("1"), build_event("2"), build_event("3"))
    assert (result.stored, result.duplicates) == (1, 2)
    assert kept(database, "dev#1").offset == 0


def test_the_same_id_with_another_body_is_a_conflict_and_the_first_stays(database: Database) -> None:
    keep(database, build_event("1"))
    result = keep(database, build_event("1", digest="another", key="k"))
    assert dict(result.dead) == {Reason.CONFLICT: 1}
    assert kept(database, "dev#1").event.key is None
    same_batch = keep(database, build_event("2"), build_event("2", digest="another"))
    assert (same_batch.stored, dict(same_batch.dead)) == (1, {Reason.CONFLICT: 1})


def test_another_source_may_use_the_same_id(database: Database) -> None:
    assert keep(database, build_event("1"), build_event("1", source="ops", digest="another")).stored == 2
    with database.read() as connection:
        assert len(event_queries.event_by_uid(connection, "1")) == 2
        assert len(event_queries.event_by_uid(connection, "ops#1")) == 1


def test_names_with_hash_signs_are_found(database: Database) -> None:
    keep(database, build_event("b#c", source="a"), build_event("c", source="a#b", digest="another"))
    with database.read() as connection:
        assert {found.event.source for found in event_queries.event_by_uid(connection, "a#b#c")} == {
            "a",
            "a#b",
        }
        assert [found.event.id for found in event_queries.event_by_uid(connection, "b#c")] == ["b#c"]
        assert event_queries.event_by_uid(connection, "nobody#1") == []


def test_an_undeclared_agent_is_a_dead_letter(database: Database) -> None:
    result = keep(
        database, build_event("1", agent="nobody"), build_interaction("i1", agent="nobody"), build_event("2")
    )
    assert (result.stored, dict(result.dead)) == (1, {Reason.UNKNOWN_AGENT: 2})


def test_a_dead_letter_is_kept_whole_and_owed_to_kafka(database: Database) -> None:
    keep(database, build_event("1"), build_unusable())
    with database.read() as connection:
        row = connection.execute(select(schema.dead_letters)).one()
    assert (row.topic, row.partition, row.offset, row.reason) == (FEEDBACK_TOPIC, 0, 1, "invalid_json")
    assert (row.key, row.value) == (b"key", b"bytes 1")
    assert outbox.from_json(row.headers) == (("ce_id", b"1"), ("ce_id", None))
    [owed] = outbox.pending(database, limit=10)
    assert (owed.topic, owed.key, owed.value) == (DEAD_LETTERS, b"key", b"bytes 1")
    assert owed.headers[:2] == (("ce_id", b"1"), ("ce_id", None))
    ours = dict(owed.headers[2:])
    assert ours["clorad.dead.reason"] == b"invalid_json"
    assert ours["clorad.dead.offset"] == b"1"


def test_a_record_without_key_and_value_can_be_a_dead_letter(database: Database) -> None:
    from ledger.events import Arrival, Batch

    arrival = Arrival(offset=0, key=None, value=None, headers=(), content=build_unusable(Reason.EMPTY))
    transaction.start_at(database, FEEDBACK, 0)
    transaction.keep(
        database,
        [Batch(partition=FEEDBACK, start=0, end=1, arrivals=(arrival,))],
        dead_letter_topic=DEAD_LETTERS,
    )
    assert [message.value for message in outbox.pending(database, limit=5)] == [None]


def test_a_topic_made_again_starts_a_partition_of_its_own(database: Database) -> None:
    keep(database, build_event("1"))
    again = Partition(cluster_id="c1", topic=FEEDBACK_TOPIC, topic_id="t9", number=0)
    keep(database, build_event("2"), partition=again)
    assert transaction.next_offset(database, FEEDBACK) == 1
    assert transaction.known_topic_ids(database, FEEDBACK_TOPIC) == {"t1": "c1", "t9": "c1"}


class TestInteractions:
    def test_an_event_waits_for_the_interaction_it_names(self, database: Database) -> None:
        keep(database, build_event("1", interaction="i1", role=None, prompt_group=None))
        assert kept(database, "dev#1").status is Status.WAITING
        keep(database, build_interaction("i1", role=Role.GATE, prompt_group="g"), partition=INTERACTIONS)
        found = kept(database, "dev#1")
        assert (found.status, found.event.role, found.event.prompt_group) == (Status.OPEN, Role.GATE, "g")

    def test_an_interaction_that_is_there_already_is_met_at_once(self, database: Database) -> None:
        keep(database, build_interaction("i1", role=Role.DEV), partition=INTERACTIONS)
        keep(database, build_event("1", interaction="i1", role=None, prompt_group=None))
        assert kept(database, "dev#1").event.role is Role.DEV

    def test_both_may_arrive_in_one_transaction(self, database: Database) -> None:
        keep(
            database,
            build_event("1", interaction="i1", role=None, prompt_group=None),
            build_interaction("i1"),
        )
        assert kept(database, "dev#1").status is Status.OPEN

    def test_an_event_with_its_own_texts_keeps_its_role(self, database: Database) -> None:
        keep(database, build_event("1", interaction="i1", role=Role.TRAIN))
        keep(database, build_interaction("i1", role=Role.GATE), partition=INTERACTIONS)
        assert kept(database, "dev#1").event.role is Role.TRAIN

    def test_an_interaction_is_kept_once(self, database: Database) -> None:
        result = keep(database, build_interaction("i1"), build_interaction("i1"), partition=INTERACTIONS)
        assert (result.stored, result.duplicates) == (1, 1)
        assert keep(database, build_interaction("i1"), partition=INTERACTIONS).duplicates == 1

    def test_an_interaction_comes_back_as_it_was_kept(self, database: Database) -> None:
        whole = build_interaction(
            "i1",
            conversation="c",
            turn=1,
            reply={"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
            request={"tools": [{"type": "function"}], "reasoning_effort": "low"},
            restrictions=("top_k",),
            packed_prompt=b"\x00packed",
        )
        redacted = build_interaction(
            "i2", conversation="c", turn=0, token_ids=None, logprobs=None, ids_left_out="redacted"
        )
        keep(database, whole, redacted, partition=INTERACTIONS)
        with database.read() as connection:
            assert event_queries.interactions_named(connection, ["i1", "i2", "i3"]) == {
                "i1": whole,
                "i2": redacted,
            }
            assert event_queries.conversation(connection, "billing", "c") == [redacted, whole]

    @pytest.mark.parametrize("text", ["nul \x00 inside", "lone \ud800 surrogate", "\U0001f600"])
    def test_no_character_people_can_write_stops_intake(self, database: Database, text: str) -> None:
        data = {"messages": [{"role": "user", "content": text}], "corrected": text, text: 1}
        result = keep(
            database,
            build_event("1", data=data),
            build_interaction("i1", completion=text, sampling={"stop": text}),
        )
        assert result.stored == 2
        assert kept(database, "dev#1").event.data["corrected"] == text


def test_more_events_than_one_query_may_name(database: Database) -> None:
    many = [build_event(str(place)) for place in range(3 * KEYS_MAX)]
    assert keep(database, *many).stored == len(many)
    assert keep(database, *many).duplicates == len(many)
    with database.read() as connection:
        found = event_queries.events_by_seq(connection, range(1, 10_000))
    assert len(found) == len(many)
    assert all(isinstance(one.event, Event) for one in found.values())


def test_partitions_kept_together_may_repeat_each_other(database: Database) -> None:
    contents = [
        [build_event("1"), build_interaction("i"), build_event("2", source="ops")],
        [build_event("1"), build_event("2"), build_interaction("i")],
        [
            build_event("1", digest="another"),
            build_unusable(),
            build_event("3", interaction="i", role=None, prompt_group=None),
        ],
    ]
    batches = []
    for number, some in enumerate(contents):
        partition = Partition(cluster_id="c1", topic=FEEDBACK_TOPIC, topic_id="t1", number=number)
        transaction.start_at(database, partition, 0)
        batches.append(build_batch(0, some, partition=partition, holes=number))
    result = transaction.keep(database, batches, dead_letter_topic=DEAD_LETTERS)
    assert (result.stored, result.duplicates) == (5, 2)
    assert result.dead == {Reason.CONFLICT: 1, Reason.INVALID_JSON: 1}
    assert (kept(database, "3").status, kept(database, "3").event.role) == (Status.OPEN, Role.TRAIN)
    with database.read() as connection:
        assert audit(connection).disagreements == ()
        assert {event.offset for event in event_queries.events_by_seq(connection, range(1, 9)).values()} == {
            0,
            1,
            2,
        }
