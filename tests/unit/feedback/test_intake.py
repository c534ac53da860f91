"""What intake promises, on a Kafka whose faults a test can switch on."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from feedback.event_record import build_event_record, signed_record
from feedback.intake import Fenced
from feedback.producer import KafkaRecord
from feedback.redaction import Redactor
from feedback.signing import (
    GATEWAY_SOURCE,
    Algorithm,
    Signers,
    SigningKey,
    TrustedSigner,
    gateway_key,
    trusted_gateway,
)
from ledger import database as database_module
from ledger.errors import LedgerUnavailable
from ledger.identity import ensure_identity
from ledger.schema import dead_letters, events, ranges
from tests.fakes.kafka import FakeKafka, FakeLog
from tests.meters import metric_increases, metric_values
from tests.unit.feedback.event_builder import CORRECTION, INTERACTION, build_headers
from tests.unit.feedback.intake_builder import (
    IntakeLedger,
    RecordedHealth,
    build_intake,
    build_ledger,
    fault_of_intake,
    run_intake_until,
    running_intakes,
    send_correction,
    wait_until,
)


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
def ledger(tmp_path: Path) -> IntakeLedger:
    return build_ledger(tmp_path)


def test_corrections_are_kept_and_offsets_with_them(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all()
    ids = {send_correction(kafka, topics.feedback, partition=number % 2) for number in range(10)}
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 10)
    assert set(ledger.ids()) == ids
    assert ledger.next_offsets(topics.feedback) == {0: 5, 1: 5}
    ledger.check_ranges()


def test_a_senders_clock_is_believed_up_to_the_time_kafka_got_the_record(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all()
    ahead = build_headers("correction", ce_time=b"2999-01-01T00:00:00Z")
    kafka.send(
        topics.feedback, json.dumps(CORRECTION).encode(), headers=ahead, timestamp_ms=1_700_000_000_000
    )
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 1)
    assert ledger.column(select(events.c.occurred_s)) == [1_700_000_000.0]


def test_what_became_of_records_is_counted_and_how_late_they_were_kept(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all()
    before, delays = metric_values("clorad.feedback.records"), metric_values("clorad.feedback.delay")
    send_correction(kafka, topics.feedback, "e1")
    send_correction(kafka, topics.feedback, "e1")
    kafka.send(topics.feedback, b"{")
    run_intake_until(
        build_intake(kafka, ledger, topics), lambda: sum(ledger.next_offsets(topics.feedback).values()) == 3
    )
    assert metric_increases(before, "clorad.feedback.records") == {
        (("fate", "stored"),): 1,
        (("fate", "duplicate"),): 1,
        (("fate", "dead"), ("reason", "invalid_json")): 1,
    }
    assert metric_increases(delays, "clorad.feedback.delay")


def test_interactions_are_kept_too(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all()
    kafka.send(topics.interactions, json.dumps(INTERACTION).encode(), headers=build_headers("interaction"))
    run_intake_until(
        build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.interactions) == 1
    )
    assert ledger.dead_letter_reasons() == []


LIVE = {
    "agent": "sql",
    "producer": "p",
    "sequence": 1,
    "canary": "",
    "share": 0.0,
    "versions": {"v0": {"conversations": 3, "signals": {}}},
}


@pytest.mark.parametrize(("kind", "data"), [("interaction", INTERACTION), ("live", LIVE)])
def test_what_gateways_say_is_kept_only_where_a_gateway_signed_it(
    kafka: FakeKafka, ledger: IntakeLedger, kind: str, data: dict[str, Any]
) -> None:
    topics = kafka.create_all(partitions=1)
    identity = ensure_identity(ledger.database)
    ours, others = gateway_key(identity), replace(gateway_key(identity), secret=b"x" * 32)
    proxy = SigningKey(id="proxy", algorithm=Algorithm.HMAC_SHA256, secret=b"p" * 32)
    trusted_proxy = TrustedSigner(
        id=proxy.id,
        algorithm=proxy.algorithm,
        key=proxy.secret,
        sources=frozenset({GATEWAY_SOURCE}),
        rights=None,
    )

    def build_record(number: int) -> KafkaRecord:
        return build_event_record(
            kind,
            data | {"sequence": number} if kind == "live" else data,
            topic=topics.interactions,
            source=GATEWAY_SOURCE,
            redactor=Redactor(identity.fingerprint),
            event_id=f"i{number}",
        )

    first, second = build_record(1), build_record(2)
    sent = [first, *(signed_record(first, key) for key in (others, ours)), signed_record(second, proxy)]
    for record in sent:
        kafka.send(topics.interactions, record.value, headers=record.headers)
    signers = Signers([trusted_gateway(identity), trusted_proxy])
    intake = build_intake(kafka, ledger, topics, signers=signers, unsigned_captures=False)
    run_intake_until(intake, lambda: ledger.records_kept(topics.interactions) == len(sent))
    assert ledger.dead_letter_reasons() == ["unsigned", "bad_signature"]
    assert ledger.column(select(func.sum(ranges.c.interactions))) == [2]


def test_a_restart_goes_on_where_it_stopped(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all()
    send_correction(kafka, topics.feedback, "e1")
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 1)
    send_correction(kafka, topics.feedback, "e2")
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 2)
    assert ledger.ids() == ["e1", "e2"]
    ledger.check_ranges()


def test_the_same_event_again_is_a_duplicate_and_another_body_a_conflict(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e1")
    send_correction(kafka, topics.feedback, "e1")
    send_correction(kafka, topics.feedback, "e1", corrected="something else")
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 3)
    assert ledger.ids() == ["e1"]
    assert ledger.dead_letter_reasons() == ["conflict"]
    ledger.check_ranges()


def test_bad_records_are_dead_letters_with_reasons_and_good_ones_go_on(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "before")
    for value in (b"", b"\xff", b"{", b"[" * 100 + b"]" * 100, b"{}", b'"' + b"x" * 300_000 + b'"'):
        kafka.send(topics.feedback, value, headers=build_headers("correction"))
    kafka.send(topics.feedback, b"{}", headers=build_headers("praise"))
    send_correction(kafka, topics.feedback, "stranger", agent="unheard-of")
    send_correction(kafka, topics.feedback, "after")
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 10)
    assert ledger.ids() == ["after", "before"]
    assert ledger.dead_letter_reasons() == [
        "empty",
        "invalid_utf8",
        "invalid_json",
        "too_deep",
        "invalid_schema",
        "oversized",
        "unknown_type",
        "unknown_agent",
    ]
    assert ledger.outbox_count() == 8
    ledger.check_ranges()


def test_holes_in_the_log_are_passed_and_accounted_for(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e1")
    kafka.send_transaction(topics.feedback, 5)
    send_correction(kafka, topics.feedback, "e2")
    kafka.send_transaction(topics.feedback, 2)
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 11)
    assert ledger.ids() == ["e1", "e2"]
    ledger.check_ranges()


def test_a_crash_in_the_transaction_keeps_nothing_and_after_it_everything(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e1")

    class Killed(BaseException):
        pass

    def die_at(point: str):
        def reached(name) -> None:
            if name == point:
                raise Killed

        return reached

    for point, left in (
        ("intake-polled", []),
        ("intake-in-transaction", []),
        ("intake-before-commit", ["e1"]),
    ):
        assert isinstance(fault_of_intake(build_intake(kafka, ledger, topics, reached=die_at(point))), Killed)
        assert ledger.ids() == left
    send_correction(kafka, topics.feedback, "e2")
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 2)
    assert ledger.ids() == ["e1", "e2"]
    ledger.check_ranges()


def test_two_members_share_the_work_and_nothing_is_kept_twice(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all(partitions=4)
    intake, other = build_intake(kafka, ledger, topics), build_intake(kafka, ledger, topics)
    with running_intakes(intake, other):
        ids = {send_correction(kafka, topics.feedback, partition=number % 4) for number in range(200)}
        wait_until(lambda: ledger.records_kept(topics.feedback) == 200)
    assert set(ledger.ids()) == ids
    ledger.check_ranges()


def test_a_member_that_wakes_after_another_took_over_keeps_nothing(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e1")
    woken = []

    def oversleep(name) -> None:
        if name == "intake-polled" and not woken:
            woken.append(True)
            run_intake_until(
                build_intake(kafka, ledger, topics, group="same-ledger"),
                lambda: ledger.records_kept(topics.feedback) >= 1,
            )

    zombie = build_intake(kafka, ledger, topics, reached=oversleep)
    with running_intakes(zombie):
        wait_until(lambda: bool(woken))
        send_correction(kafka, topics.feedback, "e2")
        wait_until(lambda: ledger.records_kept(topics.feedback) == 2)
    assert ledger.ids() == ["e1", "e2"]
    ledger.check_ranges()


def test_while_the_ledger_is_locked_intake_waits_keeps_its_place_and_goes_on(
    kafka: FakeKafka, ledger: IntakeLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_MS_MAX", 500)
    topics = kafka.create_all(partitions=1)
    health = RecordedHealth()
    with running_intakes(build_intake(kafka, ledger, topics, health=health)):
        wait_until(lambda: ledger.next_offsets(topics.feedback) == {0: 0})
        lock = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        send_correction(kafka, topics.feedback, "e1")
        wait_until(lambda: not health.states.get("ledger", (True, ""))[0])
        rounds = health.rounds
        wait_until(lambda: health.rounds > rounds + 2)
        lock.execute("ROLLBACK")
        lock.close()
        wait_until(lambda: ledger.records_kept(topics.feedback) == 1)
        wait_until(health.is_ready)
    assert ledger.dead_letter_reasons() == []


def test_a_ledger_that_is_back_is_said_though_nothing_arrives(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics, health, away = kafka.create_all(partitions=1), RecordedHealth(), [True]

    def full() -> str:
        if away[0]:
            raise LedgerUnavailable("gone")
        return ""

    with running_intakes(build_intake(kafka, ledger, topics, health=health, full=full)):
        wait_until(lambda: health.states.get("ledger") == (False, "gone"))
        away[0] = False
        wait_until(health.is_ready)


def test_while_there_is_no_room_nothing_is_taken_in(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics, health, why = kafka.create_all(partitions=1), RecordedHealth(), ["disk nearly full"]
    send_correction(kafka, topics.feedback, "e1")
    with running_intakes(build_intake(kafka, ledger, topics, health=health, full=lambda: why[0])):
        wait_until(lambda: health.states.get("room") == (False, "disk nearly full") and health.rounds > 20)
        assert ledger.ids() == []
        why[0] = ""
        wait_until(lambda: ledger.ids() == ["e1"])
    assert health.is_ready()


def test_without_kafka_intake_waits_and_says_so(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics, health = kafka.create_all(partitions=1), RecordedHealth()
    send_correction(kafka, topics.feedback, "e1")
    kafka.away = True
    with running_intakes(build_intake(kafka, ledger, topics, health=health)):
        wait_until(lambda: health.states.get("kafka") == (False, "KafkaConnectionError"))
        kafka.away = False
        wait_until(lambda: ledger.ids() == ["e1"])
        kafka.away = True
        wait_until(lambda: health.states["kafka"][0] is False)
        kafka.away = False
        send_correction(kafka, topics.feedback, "e2")
        wait_until(lambda: ledger.ids() == ["e1", "e2"])


def test_a_consumer_that_polls_on_though_no_broker_answers_is_not_called_ready(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics, health = kafka.create_all(), RecordedHealth()
    kafka.silent = 60.0
    with running_intakes(build_intake(kafka, ledger, topics, health=health)):
        wait_until(lambda: health.states.get("kafka") == (False, "no broker answers"))
        kafka.silent = 0.0
        wait_until(lambda: health.states["kafka"] == (True, ""))


def test_a_record_nobody_can_decode_halts_its_partition_and_no_other(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics, health = kafka.create_all(partitions=3), RecordedHealth()
    for partition in range(3):
        send_correction(kafka, topics.feedback, f"a{partition}", partition=partition)
    kafka.send_undecodable(topics.feedback, partition=1)
    with running_intakes(build_intake(kafka, ledger, topics, health=health)):
        wait_until(lambda: not health.states.get("partitions", (True, ""))[0])
        for partition in range(3):
            send_correction(kafka, topics.feedback, f"b{partition}", partition=partition)
        wait_until(lambda: ledger.records_kept(topics.feedback) == 5)
    assert ledger.ids() == ["a0", "a1", "a2", "b0", "b2"]


def test_a_partition_that_is_always_busy_keeps_no_other_waiting_after_a_record_nobody_can_decode(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics, health = kafka.create_all(partitions=2), RecordedHealth()
    kafka.send_undecodable(topics.feedback, partition=1)
    intake = build_intake(kafka, ledger, topics, health=health, records_max=1)

    def is_found() -> bool:
        for _ in range(10):
            send_correction(kafka, topics.feedback, partition=0)
        return not health.states.get("partitions", (True, ""))[0]

    with running_intakes(intake):
        wait_until(lambda: bool(intake._suspects))
        wait_until(is_found, wait_s=10.0)


@pytest.mark.parametrize(("is_signed", "expected"), [(True, "retracted"), (False, "open")])
def test_an_administrator_who_is_an_address_may_retract_what_others_wrote_by_a_signed_event(
    kafka: FakeKafka, ledger: IntakeLedger, is_signed: bool, expected: str
) -> None:
    topics = kafka.create_all(partitions=1)
    send_correction(kafka, topics.feedback, "e1")
    identity = ensure_identity(ledger.database)
    data = {"agent": "sql", "author": "root@example.com", "target": {"source": "ide", "id": "e1"}}
    record = build_event_record(
        "retraction",
        data,
        topic=topics.feedback,
        source="office",
        redactor=Redactor(identity.fingerprint),
    )
    record = signed_record(record, gateway_key(identity)) if is_signed else record
    kafka.send(topics.feedback, record.value, headers=record.headers, partition=0)
    run_intake_until(
        build_intake(kafka, ledger, topics, administrators=frozenset({"root@example.com"})),
        lambda: ledger.records_kept(topics.feedback) == 2,
    )
    assert ledger.column(select(events.c.status).where(events.c.id == "e1")) == [expected]


def test_a_record_nobody_can_decode_is_a_dead_letter_if_the_operator_says_so(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all(partitions=3)
    send_correction(kafka, topics.feedback, "before", partition=1)
    poisoned = [kafka.send_undecodable(topics.feedback, partition=1) for _ in range(3)]
    kafka.send_undecodable(topics.feedback, partition=2)
    send_correction(kafka, topics.feedback, "after", partition=1)
    run_intake_until(
        build_intake(kafka, ledger, topics, on_gap="continue"),
        lambda: ledger.records_kept(topics.feedback) == 6,
    )
    assert ledger.ids() == ["after", "before"]
    assert ledger.dead_letter_reasons() == ["poison"] * 4
    offsets = (
        select(dead_letters.c.offset).where(dead_letters.c.partition == 1).order_by(dead_letters.c.offset)
    )
    assert ledger.column(offsets) == poisoned
    ledger.check_ranges()


def test_a_member_fenced_by_its_instance_id_ends(kafka: FakeKafka, ledger: IntakeLedger) -> None:
    topics = kafka.create_all(partitions=1)
    kafka.fenced = {"pod-1"}
    fault = fault_of_intake(build_intake(kafka, ledger, topics, instance="pod-1"))
    assert isinstance(fault, Fenced)


def test_a_flood_of_dead_letters_makes_intake_rest_before_all_of_it_is_one(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics, health = kafka.create_all(partitions=1), RecordedHealth()
    for _ in range(3000):
        kafka.send(topics.feedback, b"{broken", headers=build_headers("correction"))
    with running_intakes(build_intake(kafka, ledger, topics, health=health, records_max=100)):
        wait_until(lambda: health.states.get("dead letters", (True, ""))[0] is False)
        rounds = health.rounds
        wait_until(lambda: health.rounds > rounds + 10)
    assert len(ledger.dead_letter_reasons()) < 400


def test_a_partition_that_appears_later_is_read_from_its_beginning_under_first_start_end(
    kafka: FakeKafka, ledger: IntakeLedger
) -> None:
    topics = kafka.create_all(partitions=2)
    for partition in (0, 1):
        send_correction(kafka, topics.feedback, f"before {partition}", partition=partition)
    begun = {0: 1, 1: 1}
    run_intake_until(
        build_intake(kafka, ledger, topics, first_start="end"),
        lambda: ledger.next_offsets(topics.feedback) == begun,
    )
    kafka.topics[topics.feedback].logs.append(FakeLog())
    for number in range(3):  # before intake knows the partition
        send_correction(kafka, topics.feedback, f"new {number}", partition=2)
    run_intake_until(build_intake(kafka, ledger, topics, first_start="end"), lambda: len(ledger.ids()) == 3)
    assert ledger.ids() == ["new 0", "new 1", "new 2"]
