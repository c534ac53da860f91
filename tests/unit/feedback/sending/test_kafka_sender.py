"""What a client writes to Kafka itself: checked, redacted, signed, and confirmed by every in-sync replica."""

from collections import Counter

import pytest

from feedback.sending.attempts import SendAgain
from feedback.sending.event import FeedbackRefused, build_outgoing_event
from feedback.sending.kafka_sender import KafkaSender, TextsOnly
from feedback.signing import Algorithm, SigningKey
from ledger.topic_names import FEEDBACK_TOPIC
from tests.fakes.kafka import FakeKafka

KEY = SigningKey(id="team-a", algorithm=Algorithm.HMAC_SHA256, secret=b"s" * 32)
DATA = {"agent": "billing", "author": "ann", "interaction": "i-1", "corrected": "yes"}


def test_a_signed_event_is_in_kafka_with_its_rights() -> None:
    kafka = FakeKafka()
    kafka.create_named(FEEDBACK_TOPIC, partitions=1)
    sender = KafkaSender(kafka, key=KEY, rights={"judge"})
    event = build_outgoing_event("correction", DATA, source="team-a/ide", event_id="e-1")
    sent = sender.post(event, left_s=10.0)
    sender.close()
    assert (sent.uid, sent.topic, sent.offset) == ("team-a/ide#e-1", FEEDBACK_TOPIC, 0)
    [record] = kafka.sent_records(FEEDBACK_TOPIC)
    headers = dict(record.headers)
    assert (headers["ce_cloradsigner"], headers["ce_cloradrights"]) == (b"team-a", b"judge")
    assert headers["ce_time"] == event.time.isoformat().encode()


def test_while_kafka_is_away_an_event_may_be_tried_again() -> None:
    kafka = FakeKafka()
    kafka.create_named(FEEDBACK_TOPIC, partitions=1)
    kafka.away = True
    sender = KafkaSender(kafka, key=None, ack_s_max=0.5)
    event = build_outgoing_event("correction", DATA, source="ide")
    with pytest.raises(SendAgain, match="KafkaConnectionError"):
        sender.post(event, left_s=10.0)
    kafka.away = False
    assert sender.post(event, left_s=10.0).id == event.id
    sender.close()
    with pytest.raises(SendAgain, match="too many"):
        sender.post(event, left_s=1.0)


@pytest.mark.parametrize(
    ("source", "changed", "complaint"),
    [("", {}, "source: missing"), ("ide", {"comment": "x" * 300_000}, "at most 262144")],
)
def test_what_intake_would_refuse_is_refused_here(source: str, changed: dict, complaint: str) -> None:
    sender = KafkaSender(FakeKafka(), key=None)
    with pytest.raises(FeedbackRefused, match=complaint):
        sender.record(build_outgoing_event("correction", DATA | changed, source=source))
    sender.close()


def test_texts_are_redacted_here_and_names_by_intake() -> None:
    redactor = TextsOnly()
    texts = redactor.value({"reply": "write to ann@example.com"}, Counter())
    assert "ann@example.com" not in texts["reply"]
    assert redactor.name("ann@example.com", Counter()) == "ann@example.com"
