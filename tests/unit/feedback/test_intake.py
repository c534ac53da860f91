"""What intake promises, on a Kafka whose faults a test can switch on."""

import json
import sqlite3
from pathlib import Path

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from sqlalchemy import select

from feedback.intake import Fenced
from feedback.placement import WrongLedger
from ledger.errors import LedgerUnavailable
from ledger.identity import ensure_identity
from ledger.schema import dead_letters, events, ranges
from tests.fakes.kafka import FakeKafka, FakeLog
from tests.meters import since, told
from tests.unit.feedback.said import CORRECTION, INTERACTION, headers
from tests.unit.feedback.taking_in import (
    Books,
    Seen,
    books,
    correct,
    fault_of,
    intake,
    running,
    take_in,
    until,
)


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
def kept(tmp_path: Path) -> Books:
    return books(tmp_path)


def test_corrections_are_kept_and_offsets_with_them(kafka, kept):
    topics = kafka.create_all()
    ids = {correct(kafka, topics.feedback, partition=number % 2) for number in range(10)}
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 10)
    assert set(kept.ids()) == ids
    assert kept.next_offsets(topics.feedback) == {0: 5, 1: 5}
    kept.check_ranges()


def test_a_senders_clock_is_believed_up_to_the_time_kafka_got_the_record(kafka, kept):
    topics = kafka.create_all()
    ahead = headers("correction", ce_time=b"2999-01-01T00:00:00Z")
    kafka.say(topics.feedback, json.dumps(CORRECTION).encode(), headers=ahead, timestamp_ms=1_700_000_000_000)
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 1)
    assert kept.column(select(events.c.occurred_s)) == [1_700_000_000.0]


def test_what_became_of_records_is_counted_and_how_late_they_were_kept(kafka, kept):
    topics = kafka.create_all()
    before, delays = told("clorad.feedback.records"), told("clorad.feedback.delay")
    correct(kafka, topics.feedback, "e1")
    correct(kafka, topics.feedback, "e1")
    kafka.say(topics.feedback, b"{")
    take_in(intake(kafka, kept, topics), lambda: sum(kept.next_offsets(topics.feedback).values()) == 3)
    assert since(before, "clorad.feedback.records") == {
        (("fate", "stored"),): 1,
        (("fate", "duplicate"),): 1,
        (("fate", "dead"), ("reason", "invalid_json")): 1,
    }
    assert since(delays, "clorad.feedback.delay")


def test_interactions_are_kept_too(kafka, kept):
    topics = kafka.create_all()
    kafka.say(topics.interactions, json.dumps(INTERACTION).encode(), headers=headers("interaction"))
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.interactions) == 1)
    assert kept.reasons() == []


def test_a_restart_goes_on_where_it_stopped(kafka, kept):
    topics = kafka.create_all()
    correct(kafka, topics.feedback, "e1")
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 1)
    correct(kafka, topics.feedback, "e2")
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 2)
    assert kept.ids() == ["e1", "e2"]
    kept.check_ranges()


def test_the_ledger_wins_over_the_offsets_in_kafka(kafka, kept):
    topics = kafka.create_all(partitions=1)
    for number in range(4):
        correct(kafka, topics.feedback, f"e{number}")
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 4)
    place = TopicPartition(topics.feedback, 0)
    for reset in (0, 2):
        kafka.groups["g"].offsets[place] = OffsetAndMetadata(reset, "", -1)
        correct(kafka, topics.feedback)
        take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == kafka.log(place).end)
    assert len(kept.ids()) == 6


def test_the_same_event_again_is_a_duplicate_and_another_body_a_conflict(kafka, kept):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e1")
    correct(kafka, topics.feedback, "e1")
    correct(kafka, topics.feedback, "e1", corrected="something else")
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 3)
    assert kept.ids() == ["e1"]
    assert kept.reasons() == ["conflict"]
    kept.check_ranges()


def test_bad_records_are_dead_letters_with_reasons_and_good_ones_go_on(kafka, kept):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "before")
    for value in (b"", b"\xff", b"{", b"[" * 100 + b"]" * 100, b"{}", b'"' + b"x" * 300_000 + b'"'):
        kafka.say(topics.feedback, value, headers=headers("correction"))
    kafka.say(topics.feedback, b"{}", headers=headers("praise"))
    correct(kafka, topics.feedback, "stranger", agent="unheard-of")
    correct(kafka, topics.feedback, "after")
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 10)
    assert kept.ids() == ["after", "before"]
    assert kept.reasons() == [
        "empty",
        "invalid_utf8",
        "invalid_json",
        "too_deep",
        "invalid_schema",
        "oversized",
        "unknown_type",
        "unknown_agent",
    ]
    assert kept.owed() == 8
    kept.check_ranges()


def test_holes_in_the_log_are_passed_and_accounted_for(kafka, kept):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e1")
    kafka.abandon(topics.feedback, 5)
    correct(kafka, topics.feedback, "e2")
    kafka.abandon(topics.feedback, 2)
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 11)
    assert kept.ids() == ["e1", "e2"]
    kept.check_ranges()


def test_a_crash_in_the_transaction_keeps_nothing_and_after_it_everything(kafka, kept):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e1")

    class Killed(BaseException):
        pass

    def die_at(point):
        def reached(name):
            if name == point:
                raise Killed

        return reached

    for point, left in (
        ("intake-polled", []),
        ("intake-in-transaction", []),
        ("intake-before-commit", ["e1"]),
    ):
        assert isinstance(fault_of(intake(kafka, kept, topics, reached=die_at(point))), Killed)
        assert kept.ids() == left
    correct(kafka, topics.feedback, "e2")
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 2)
    assert kept.ids() == ["e1", "e2"]
    kept.check_ranges()


def test_two_members_share_the_work_and_nothing_is_kept_twice(kafka, kept):
    topics = kafka.create_all(partitions=4)
    one, other = intake(kafka, kept, topics), intake(kafka, kept, topics)
    with running(one, other):
        ids = {correct(kafka, topics.feedback, partition=number % 4) for number in range(200)}
        until(lambda: kept.kept(topics.feedback) == 200)
    assert set(kept.ids()) == ids
    kept.check_ranges()


def test_a_member_that_wakes_after_another_took_over_keeps_nothing(kafka, kept):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e1")
    woken = []

    def oversleep(name):
        if name == "intake-polled" and not woken:
            woken.append(True)
            take_in(intake(kafka, kept, topics, group="same-ledger"), lambda: kept.kept(topics.feedback) >= 1)

    zombie = intake(kafka, kept, topics, reached=oversleep)
    with running(zombie):
        until(lambda: bool(woken))
        correct(kafka, topics.feedback, "e2")
        until(lambda: kept.kept(topics.feedback) == 2)
    assert kept.ids() == ["e1", "e2"]
    kept.check_ranges()


def test_while_the_ledger_is_locked_intake_waits_keeps_its_place_and_goes_on(kafka, kept, tmp_path):
    topics = kafka.create_all(partitions=1)
    seen = Seen()
    with running(intake(kafka, kept, topics, seen=seen)):
        until(lambda: kept.next_offsets(topics.feedback) == {0: 0})
        lock = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        correct(kafka, topics.feedback, "e1")
        until(lambda: not seen.states.get("ledger", (True, ""))[0])
        rounds = seen.rounds
        until(lambda: seen.rounds > rounds + 2)
        lock.execute("ROLLBACK")
        lock.close()
        until(lambda: kept.kept(topics.feedback) == 1)
        until(seen.is_ready)
    assert kept.reasons() == []


def test_a_ledger_that_is_back_is_said_though_nothing_arrives(kafka, kept):
    topics, seen, away = kafka.create_all(partitions=1), Seen(), [True]

    def full() -> str:
        if away[0]:
            raise LedgerUnavailable("gone")
        return ""

    with running(intake(kafka, kept, topics, seen=seen, full=full)):
        until(lambda: seen.states.get("ledger") == (False, "gone"))
        away[0] = False
        until(seen.is_ready)


def test_while_there_is_no_room_nothing_is_taken_in(kafka, kept):
    topics, seen, why = kafka.create_all(partitions=1), Seen(), ["disk nearly full"]
    correct(kafka, topics.feedback, "e1")
    with running(intake(kafka, kept, topics, seen=seen, full=lambda: why[0])):
        until(lambda: seen.states.get("room") == (False, "disk nearly full") and seen.rounds > 20)
        assert kept.ids() == []
        why[0] = ""
        until(lambda: kept.ids() == ["e1"])
    assert seen.is_ready()


def test_without_kafka_intake_waits_and_says_so(kafka, kept):
    topics, seen = kafka.create_all(partitions=1), Seen()
    correct(kafka, topics.feedback, "e1")
    kafka.away = True
    with running(intake(kafka, kept, topics, seen=seen)):
        until(lambda: seen.states.get("kafka") == (False, "KafkaConnectionError"))
        kafka.away = False
        until(lambda: kept.ids() == ["e1"])
        kafka.away = True
        until(lambda: seen.states["kafka"][0] is False)
        kafka.away = False
        correct(kafka, topics.feedback, "e2")
        until(lambda: kept.ids() == ["e1", "e2"])


def test_a_consumer_that_polls_on_though_no_broker_answers_is_not_called_ready(kafka, kept):
    topics, seen = kafka.create_all(), Seen()
    kafka.silent = 60.0
    with running(intake(kafka, kept, topics, seen=seen)):
        until(lambda: seen.states.get("kafka") == (False, "no broker answers"))
        kafka.silent = 0.0
        until(lambda: seen.states["kafka"] == (True, ""))


@pytest.mark.parametrize(
    ("first_start", "ids"),
    [("committed", ["e2", "e3"]), ("beginning", ["e0", "e1", "e2", "e3"]), ("end", [])],
)
def test_a_partition_never_read_begins_where_the_policy_says(kafka, kept, first_start, ids):
    topics = kafka.create_all(partitions=1)
    for number in range(4):
        correct(kafka, topics.feedback, f"e{number}")
    kafka.consumer(group_id="g")
    kafka.groups["g"].offsets[TopicPartition(topics.feedback, 0)] = OffsetAndMetadata(2, "", -1)
    one = intake(kafka, kept, topics, first_start=first_start)
    take_in(one, lambda: kept.next_offsets(topics.feedback) == {0: 4})
    assert kept.ids() == ids


def test_a_ledger_restored_from_before_its_own_hint_reads_everything_again(kafka, tmp_path):
    topics = kafka.create_all(partitions=1)
    for number in range(3):
        correct(kafka, topics.feedback, f"e{number}")
    kept = books(tmp_path)
    ensure_identity(kept.database)
    kept.database.close()
    saved = (tmp_path / "ledger.db").read_bytes()
    first = books(tmp_path)
    take_in(intake(kafka, first, topics), lambda: first.kept(topics.feedback) == 3)
    until(lambda: kafka.commits > 0)
    first.database.close()
    for leftover in tmp_path.glob("ledger.db*"):
        leftover.unlink()
    (tmp_path / "ledger.db").write_bytes(saved)
    restored = books(tmp_path)
    take_in(intake(kafka, restored, topics), lambda: restored.kept(topics.feedback) == 3)
    assert restored.ids() == ["e0", "e1", "e2"]


def test_a_group_of_another_ledger_is_refused(kafka, kept):
    topics = kafka.create_all(partitions=1)
    kafka.consumer(group_id="g")
    kafka.groups["g"].offsets[TopicPartition(topics.feedback, 0)] = OffsetAndMetadata(0, "another-ledger", -1)
    fault = fault_of(intake(kafka, kept, topics))
    assert isinstance(fault, WrongLedger)
    assert "another-ledger" in str(fault)
    assert kafka.groups["g"].offsets[TopicPartition(topics.feedback, 0)].metadata == "another-ledger"


def _read_two_then_lose_three(kafka, kept, topics):
    for number in range(2):
        correct(kafka, topics.feedback, f"e{number}")
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 2)
    for number in range(2, 7):
        correct(kafka, topics.feedback, f"e{number}")
    kafka.delete_records(topics.feedback, 0, 5)


def test_offsets_lost_to_retention_halt_the_partition(kafka, kept):
    topics, seen = kafka.create_all(partitions=1), Seen()
    _read_two_then_lose_three(kafka, kept, topics)
    with running(intake(kafka, kept, topics, seen=seen)):
        until(lambda: not seen.states.get("partitions", (True, ""))[0])
    assert kept.kept(topics.feedback) == 2


def test_offsets_lost_to_retention_are_a_recorded_gap_if_the_operator_says_so(kafka, kept):
    topics = kafka.create_all(partitions=1)
    _read_two_then_lose_three(kafka, kept, topics)
    take_in(intake(kafka, kept, topics, on_gap="continue"), lambda: kept.kept(topics.feedback) == 7)
    assert kept.ids() == ["e0", "e1", "e5", "e6"]
    gaps = select(ranges.c.start).where(ranges.c.gap.is_not(None))
    assert kept.column(gaps) == [2]
    kept.check_ranges()


def test_a_log_shorter_than_what_was_read_halts_the_partition(kafka, kept):
    topics, seen = kafka.create_all(partitions=1), Seen()
    for number in range(3):
        correct(kafka, topics.feedback, f"e{number}")
    take_in(intake(kafka, kept, topics), lambda: kept.kept(topics.feedback) == 3)
    del kafka.log(TopicPartition(topics.feedback, 0)).entries[1:]
    with running(intake(kafka, kept, topics, seen=seen, on_gap="continue")):
        until(lambda: not seen.states.get("partitions", (True, ""))[0])


def test_a_record_nobody_can_decode_halts_its_partition_and_no_other(kafka, kept):
    topics, seen = kafka.create_all(partitions=3), Seen()
    for partition in range(3):
        correct(kafka, topics.feedback, f"a{partition}", partition=partition)
    kafka.poison(topics.feedback, partition=1)
    with running(intake(kafka, kept, topics, seen=seen)):
        until(lambda: not seen.states.get("partitions", (True, ""))[0])
        for partition in range(3):
            correct(kafka, topics.feedback, f"b{partition}", partition=partition)
        until(lambda: kept.kept(topics.feedback) == 5)
    assert kept.ids() == ["a0", "a1", "a2", "b0", "b2"]


def test_a_partition_that_is_always_busy_keeps_no_other_waiting_after_a_record_nobody_can_decode(kafka, kept):
    topics, seen = kafka.create_all(partitions=2), Seen()
    kafka.poison(topics.feedback, partition=1)
    one = intake(kafka, kept, topics, seen=seen, records_max=1)

    def is_found() -> bool:
        for _ in range(10):
            correct(kafka, topics.feedback, partition=0)
        return not seen.states.get("partitions", (True, ""))[0]

    with running(one):
        until(lambda: bool(one._suspects))
        until(is_found, wait_s=10.0)


def test_an_administrator_who_is_an_address_may_retract_what_others_wrote(kafka, kept):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e1")
    target = {"source": "ide", "id": "e1"}
    said = {"agent": "sql", "author": "root@example.com", "target": target}
    taken_back = headers("retraction", ce_id=b"r1", ce_source=b"office")
    kafka.say(topics.feedback, json.dumps(said).encode(), headers=taken_back, partition=0)
    take_in(
        intake(kafka, kept, topics, administrators=frozenset({"root@example.com"})),
        lambda: kept.kept(topics.feedback) == 2,
    )
    assert kept.column(select(events.c.status).where(events.c.id == "e1")) == ["retracted"]


def test_a_record_nobody_can_decode_is_a_dead_letter_if_the_operator_says_so(kafka, kept):
    topics = kafka.create_all(partitions=3)
    correct(kafka, topics.feedback, "before", partition=1)
    poisoned = [kafka.poison(topics.feedback, partition=1) for _ in range(3)]
    kafka.poison(topics.feedback, partition=2)
    correct(kafka, topics.feedback, "after", partition=1)
    take_in(intake(kafka, kept, topics, on_gap="continue"), lambda: kept.kept(topics.feedback) == 6)
    assert kept.ids() == ["after", "before"]
    assert kept.reasons() == ["poison"] * 4
    offsets = (
        select(dead_letters.c.offset).where(dead_letters.c.partition == 1).order_by(dead_letters.c.offset)
    )
    assert kept.column(offsets) == poisoned
    kept.check_ranges()


@pytest.mark.parametrize("while_running", [False, True])
def test_a_topic_made_again_is_halted_not_read_at_the_old_offset(kafka, kept, while_running):
    topics, seen = kafka.create_all(partitions=1), Seen()
    correct(kafka, topics.feedback, "old")
    one = intake(kafka, kept, topics, seen=seen)

    def make_again():
        kafka.delete(topics.feedback)
        kafka.create_named(topics.feedback, 1)
        for number in range(3):
            correct(kafka, topics.feedback, f"new{number}")

    if while_running:
        with running(one):
            until(lambda: kept.kept(topics.feedback) == 1)
            kafka.delete(topics.feedback)
            until(lambda: seen.rounds > 10)
            kafka.create_named(topics.feedback, 1)
            until(lambda: not seen.states.get("partitions", (True, ""))[0])
    else:
        take_in(one, lambda: kept.kept(topics.feedback) == 1)
        make_again()
        with running(intake(kafka, kept, topics, seen=seen)):
            until(lambda: not seen.states.get("partitions", (True, ""))[0])
    assert kept.ids() == ["old"]


def test_a_topic_made_again_is_read_from_its_beginning_if_the_operator_says_so(kafka, kept):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "old")
    with running(intake(kafka, kept, topics, on_gap="continue")):
        until(lambda: kept.ids() == ["old"])
        kafka.delete(topics.feedback)
        kafka.create_named(topics.feedback, 1)
        for number in range(3):
            correct(kafka, topics.feedback, f"new{number}")
        until(lambda: len(kept.ids()) == 4)
    kept.check_ranges()


def test_partitions_added_later_are_read_from_their_beginning(kafka, kept):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e0")
    with running(intake(kafka, kept, topics)):
        until(lambda: kept.ids() == ["e0"])
        kafka.topics[topics.feedback].logs.append(FakeLog())
        correct(kafka, topics.feedback, "e1", partition=1)
        until(lambda: kept.ids() == ["e0", "e1"])


def test_a_topic_that_is_missing_at_start_is_waited_for(kafka, kept):
    topics = kafka.create_all(partitions=1)
    kafka.delete(topics.feedback)
    with running(intake(kafka, kept, topics)):
        kafka.create_named(topics.feedback, 1)
        correct(kafka, topics.feedback, "e1")
        until(lambda: kept.ids() == ["e1"])


def test_a_member_fenced_by_its_instance_id_ends(kafka, kept):
    topics = kafka.create_all(partitions=1)
    kafka.fenced = {"pod-1"}
    fault = fault_of(intake(kafka, kept, topics, instance="pod-1"))
    assert isinstance(fault, Fenced)


def test_a_flood_of_dead_letters_makes_intake_rest_before_all_of_it_is_one(kafka, kept):
    topics, seen = kafka.create_all(partitions=1), Seen()
    for _ in range(3000):
        kafka.say(topics.feedback, b"{broken", headers=headers("correction"))
    with running(intake(kafka, kept, topics, seen=seen, records_max=100)):
        until(lambda: seen.states.get("dead letters", (True, ""))[0] is False)
        rounds = seen.rounds
        until(lambda: seen.rounds > rounds + 10)
    assert len(kept.reasons()) < 400
