"""Each annotation is sent once; what changes replaces it, what is withdrawn is retracted."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feedback.bridges.annotation import Annotation, AnnotationRefused, Statement, ToolOptions
from feedback.bridges.delivery import AnnotationFate as Fate
from feedback.bridges.delivery import Delivery
from feedback.bridges.journal import SentJournal
from feedback.bridges.traced import TracedAnswer
from feedback.client import FeedbackUnconfirmed
from feedback.event_record import build_event_record
from feedback.sending.event import OutgoingEvent, SentFeedback
from feedback.sending.kafka_sender import TextsOnly
from tests.fakes.kafka import FakeKafka
from tests.unit.feedback.bridges.test_annotation import AT, build_annotation
from tests.unit.feedback.bridges.tool_options_builder import build_tool_options
from tests.unit.feedback.intake_builder import build_intake, build_ledger, run_intake_until

OPTIONS = build_tool_options(name="ls", agent="sql")
LATER = AT + timedelta(minutes=1)


class Bridge:
    """A delivery whose events are recorded, or not confirmed."""

    def __init__(self, path: Path, options: ToolOptions = OPTIONS) -> None:
        self.sent: list[OutgoingEvent] = []
        self.away = False
        self._path, self._options = path, options

    def send(self, event: OutgoingEvent) -> SentFeedback:
        if self.away:
            raise FeedbackUnconfirmed(event, "away")
        self.sent.append(event)
        return SentFeedback(id=event.id, source=event.source, topic="t", partition=0, offset=0)

    def deliver(self, *annotations: Annotation) -> list[Fate]:
        """As a process of its own: the journal is opened, and closed at the end."""
        with SentJournal(self._path) as journal:
            delivery = Delivery("label-studio", self._options, journal, self.send)
            return [delivery.deliver(annotation) for annotation in annotations]

    @property
    def kinds(self) -> list[str]:
        return [str(event.data.get("action") or event.type.split(".")[1]) for event in self.sent]


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    return Bridge(tmp_path / "ls.jsonl")  # type: ignore[return-value]


def build_text(**changed: Any) -> Annotation:
    """TracedAnswer texts, which need no captured interaction."""
    about = TracedAnswer(messages=({"role": "user", "content": "cancel"},), said="no")
    return build_annotation(about=about, **changed)


def test_a_replay_is_not_sent_again_also_after_a_restart(bridge: Bridge) -> None:
    assert bridge.deliver(build_annotation(), build_annotation()) == [
        Fate.SENT,
        Fate.REPEATED,
    ]
    assert bridge.deliver(build_annotation()) == [Fate.REPEATED]
    assert bridge.kinds == ["correction"]


def test_without_its_journal_the_same_ids_are_sent_again(bridge: Bridge, tmp_path: Path) -> None:
    bridge.deliver(build_annotation())
    (tmp_path / "ls.jsonl").unlink()
    assert bridge.deliver(build_annotation()) == [Fate.SENT]
    assert bridge.sent[0] == bridge.sent[1]


def test_a_change_of_the_same_kind_is_a_later_revision(bridge: Bridge) -> None:
    changed = build_annotation(revised_at=LATER, said=Statement(kind="correction", value="maybe"))
    assert bridge.deliver(build_annotation(), changed) == [Fate.SENT, Fate.SENT]
    first, second = (event.data for event in bridge.sent)
    assert (first["key"], first["revision"] + 60) == (second["key"], second["revision"])


def test_a_change_of_mind_retracts_what_was_said(bridge: Bridge) -> None:
    up, down = Statement(kind="approve"), Statement(kind="reject")
    bridge.deliver(build_annotation(said=up))
    bridge.deliver(build_annotation(revised_at=LATER, said=down))
    assert bridge.kinds == ["approve", "retraction", "reject"]
    assert bridge.sent[1].data["target"] == {"source": "bridge/ls", "id": bridge.sent[0].id}


def test_another_person_who_changes_it_replaces_the_first(bridge: Bridge) -> None:
    bridge.deliver(build_annotation(), build_annotation(revised_at=LATER, person="6"))
    assert [event.data["author"] for event in bridge.sent] == ["5", "5", "6"]
    assert bridge.kinds == ["correction", "retraction", "correction"]


def test_what_is_withdrawn_is_retracted_once(bridge: Bridge) -> None:
    gone = Annotation(name="7")
    fates = bridge.deliver(build_annotation(), gone, gone)
    assert fates == [Fate.SENT, Fate.RETRACTED, Fate.SILENT]
    assert bridge.kinds == ["correction", "retraction"]
    assert bridge.deliver(Annotation(name="never sent")) == [Fate.SILENT]


def test_a_webhook_that_comes_late_changes_nothing(bridge: Bridge) -> None:
    later = build_annotation(revised_at=LATER, said=Statement(kind="reject"))
    assert bridge.deliver(later, build_annotation(said=Statement(kind="approve"))) == [
        Fate.SENT,
        Fate.REPEATED,
    ]
    assert bridge.kinds == ["reject"]


def test_what_kafka_did_not_confirm_is_sent_at_the_next_try(bridge: Bridge) -> None:
    bridge.away = True
    with pytest.raises(FeedbackUnconfirmed):
        bridge.deliver(build_annotation())
    bridge.away = False
    assert bridge.deliver(build_annotation()) == [Fate.SENT]


def test_what_cannot_be_used_is_not_read_again_until_it_changes(bridge: Bridge, tmp_path: Path) -> None:
    with pytest.raises(AnnotationRefused):
        bridge.deliver(build_annotation(about=TracedAnswer()))
    with SentJournal(tmp_path / "ls.jsonl") as journal:
        delivery = Delivery("label-studio", OPTIONS, journal, bridge.send)
        assert delivery.is_known("7", AT)
        assert not delivery.is_known("7", LATER)
        assert delivery.deliver(build_annotation()) is Fate.SENT


def test_replays_and_changes_of_mind_end_as_one_event_in_the_ledger(bridge: Bridge, tmp_path: Path) -> None:
    kafka = FakeKafka()
    topics = kafka.create_all(partitions=1)
    bridge.deliver(build_text(said=Statement(kind="approve")))
    (tmp_path / "ls.jsonl").rename(tmp_path / "kept")
    bridge.deliver(build_text(said=Statement(kind="approve")))
    bridge.deliver(
        build_text(revised_at=LATER, said=Statement(kind="correction", value="yes", comment="why"))
    )
    for event in bridge.sent:
        record = build_event_record(
            event.type,
            event.data,
            topic=topics.feedback,
            source=event.source,
            redactor=TextsOnly(),
            event_id=event.id,
            at=event.time,
        )
        kafka.send(topics.feedback, record.value, headers=record.headers, partition=0)
    ledger = build_ledger(tmp_path)
    intake = build_intake(kafka, ledger, topics)
    run_intake_until(intake, lambda: ledger.records_kept(topics.feedback) == len(bridge.sent) == 4)
    from sqlalchemy import select

    from ledger.schema import events

    rows = ledger.column(select(events.c.kind + " " + events.c.status).order_by(events.c.seq))
    assert rows == ["approve retracted", "retraction applied", "correction open"]
    assert ledger.dead_letter_reasons() == []
    ledger.database.close()
