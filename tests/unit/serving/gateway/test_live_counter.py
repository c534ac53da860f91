"""Live counts on their way to Kafka: every answer, each conversation once, every record once in order."""

import json
import tracemalloc
from concurrent.futures import Future
from typing import Any

from feedback import wire
from feedback.producer import KafkaRecord, NotAcknowledged, Sent, TooManyWaiting
from ledger.events import Signal
from serving.gateway.live_counter import SIGNALS_MAX, CountKey, LiveCounter
from tests.unit.serving.gateway.gateway_builder import RecordedSends

KEY = CountKey("billing", "v7-bbbbbb", 0.05)
V6, V7 = "v6-aaaaaa", "v7-bbbbbb"


def build_counter(send: Any) -> LiveCounter:
    return LiveCounter(send, lambda raw: raw.hex().rjust(64, "0")[-64:][::-1])


def data(record: KafkaRecord) -> dict[str, Any]:
    found = json.loads(record.value or b"")
    wire.TYPES["clorad.live.v1"].model_validate(found)
    return found


def test_answers_are_counted_by_version_and_conversations_once() -> None:
    sends = RecordedSends()
    counter = build_counter(sends)
    for conversation in ("c1", "c1", "c2"):
        counter.count(KEY, version=V6, conversation=conversation)
    counter.count(KEY, version=V7, conversation="c3", signals=[Signal.ERROR])
    counter.count(KEY, version=V7, conversation="c3", signals=[Signal.ERROR])
    counter.publish()
    [record] = sends.records
    found = data(record)
    assert (found["agent"], found["canary"], found["share"], found["sequence"]) == ("billing", V7, 0.05, 1)
    assert found["versions"][V6] == {"conversations": 2, "signals": {}}
    assert found["versions"][V7]["conversations"] == 1
    assert len(found["versions"][V7]["signals"]["error"]) == 1


def test_no_record_has_the_name_of_a_conversation() -> None:
    sends = RecordedSends()
    counter = LiveCounter(sends, lambda _: "f" * 64)
    counter.count(KEY, version=V6, conversation="ann@example.com", signals=[Signal.REFUSAL])
    counter.publish()
    assert b"ann@" not in (sends.records[0].value or b"")


def test_long_names_of_conversations_take_no_more_memory_than_short_ones() -> None:
    counter = build_counter(RecordedSends())
    tracemalloc.start()
    try:
        for number in range(200):
            counter.count(KEY, version=V6, conversation=f"{number} {'x' * 30_000}")
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_nothing_is_sent_where_nothing_was_counted() -> None:
    sends = RecordedSends()
    counter = build_counter(sends)
    counter.count(KEY, version=V6, conversation="c1")
    counter.publish()
    counter.publish()
    assert len(sends.records) == 1


def test_each_share_counts_its_conversations_anew() -> None:
    sends = RecordedSends()
    counter = build_counter(sends)
    for share in (0.05, 0.25):
        counter.count(CountKey("billing", V7, share), version=V6, conversation="c1")
    counter.publish()
    counter.publish()
    assert [(data(record)["share"], data(record)["sequence"]) for record in sends.records] == [
        (0.05, 1),
        (0.25, 2),
    ]


def test_a_record_that_kafka_did_not_acknowledge_is_sent_again_before_the_next() -> None:
    futures: list[tuple[KafkaRecord, Future[Sent]]] = []

    def send(record: KafkaRecord) -> Future[Sent]:
        futures.append((record, Future()))
        return futures[-1][1]

    counter = build_counter(send)
    counter.count(KEY, version=V6, conversation="c1")
    counter.publish()
    counter.count(KEY, version=V6, conversation="c2")
    counter.publish()
    assert len(futures) == 1, "the first is under way"
    futures[0][1].set_exception(NotAcknowledged("KafkaTimeoutError"))
    counter.publish()
    assert futures[1][0] == futures[0][0]
    futures[1][1].set_result(Sent(topic="t", partition=0, offset=1))
    counter.publish()
    assert data(futures[2][0])["sequence"] == 2
    assert data(futures[2][0])["versions"][V6]["conversations"] == 1


def test_a_full_producer_costs_nothing_that_was_counted() -> None:
    sends = RecordedSends(fault="full")
    counter = build_counter(sends)
    counter.count(KEY, version=V6, conversation="c1")
    counter.publish()
    sends.fault = None
    counter.publish()
    assert data(sends.records[0])["versions"][V6]["conversations"] == 1


def test_records_of_one_agent_stay_in_order_on_one_partition() -> None:
    sends = RecordedSends()
    counter = build_counter(sends)
    for conversation in ("c1", "c2"):
        counter.count(KEY, version=V6, conversation=conversation)
        counter.publish()
    assert sends.records[0].key == sends.records[1].key


def test_a_flood_of_signals_is_cut_for_both_versions_alike() -> None:
    sends = RecordedSends()
    counter = build_counter(sends)
    for number in range(3 * SIGNALS_MAX):
        version = (V6, V7)[number % 2]
        counter.count(KEY, version=version, conversation=f"c{number}", signals=[Signal.ERROR])
    counter.publish()
    [record] = sends.records
    named = {version: len(counts["signals"]["error"]) for version, counts in data(record)["versions"].items()}
    assert named == {V6: SIGNALS_MAX // 2, V7: SIGNALS_MAX // 2}


def test_what_is_refused_at_once_is_tried_again() -> None:
    tries: list[KafkaRecord] = []

    def send(record: KafkaRecord) -> Future[Sent]:
        tries.append(record)
        raise TooManyWaiting

    counter = build_counter(send)
    counter.count(KEY, version=V6, conversation="c1")
    counter.publish()
    counter.publish()
    assert tries[0] == tries[1]
