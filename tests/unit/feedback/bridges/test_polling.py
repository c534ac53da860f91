"""A poller sends what is new or changed, survives a tool and a Kafka that are away, and ends when told to."""

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feedback.bridges.annotation import Annotation, AnnotationFault, AnnotationRefused
from feedback.bridges.delivery import Delivery
from feedback.bridges.journal import SentJournal
from feedback.bridges.polling import poll_once, poll_until
from feedback.bridges.tool_client import ToolAway
from tests.unit.feedback.bridges.test_annotation import AT, build_annotation
from tests.unit.feedback.bridges.test_delivery import LATER, OPTIONS, Bridge
from tests.unit.feedback.intake_builder import RecordedHealth, wait_until


class FakeTool:
    """Has annotations, and counts how often one was read whole."""

    def __init__(self, *annotations: Annotation) -> None:
        self.annotations = list(annotations)
        self.whole = 0
        self.away = False
        self.polls = 0

    def items(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        self.polls += 1
        if self.away:
            raise ToolAway("status 500")
        for annotation in self.annotations:
            yield {"it": annotation}

    def identity(self, item: Mapping[str, Any]) -> tuple[str, datetime]:
        if item["it"].name == "":
            raise AnnotationRefused(AnnotationFault.INVALID, "id: no id")
        return item["it"].name, item["it"].revised_at

    def annotation(self, item: Mapping[str, Any]) -> Annotation:
        self.whole += 1
        if item["it"].person == "odd":
            raise AnnotationRefused(AnnotationFault.UNKNOWN_LABEL, "neither good nor bad")
        annotation: Annotation = item["it"]
        return annotation


@pytest.fixture
def bridge(tmp_path: Path) -> Bridge:
    return Bridge(tmp_path / "ls.jsonl")


def poll(tool: FakeTool, bridge: Bridge, path: Path, *, times: int = 1) -> None:
    with SentJournal(path) as journal:
        delivery = Delivery("mlflow", OPTIONS, journal, bridge.send)
        for _ in range(times):
            poll_once(tool, delivery, since=datetime.now(UTC), alive=lambda: None)


def test_what_did_not_change_is_neither_read_whole_nor_sent_again(bridge: Bridge, tmp_path: Path) -> None:
    silent = Annotation(name="8", revised_at=AT)
    tool = FakeTool(build_annotation(), silent, build_annotation(name="9", person="odd"))
    poll(tool, bridge, tmp_path / "j", times=2)
    poll(tool, bridge, tmp_path / "j")
    assert (tool.whole, bridge.kinds) == (3, ["correction"])
    tool.annotations[0] = build_annotation(revised_at=LATER)
    poll(tool, bridge, tmp_path / "j", times=2)
    assert (tool.whole, bridge.kinds) == (4, ["correction", "correction"])


def test_one_that_cannot_be_used_does_not_keep_the_others(bridge: Bridge, tmp_path: Path) -> None:
    tool = FakeTool(build_annotation(name=""), build_annotation(person="odd"), build_annotation(name="8"))
    poll(tool, bridge, tmp_path / "j")
    assert [event.data["key"] for event in bridge.sent] == ["8"]


def test_a_poller_goes_on_after_faults_and_ends_when_told_to(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedback.bridges.polling._FIRST_WAIT_S", 0.01)
    tool, health, stopping = FakeTool(build_annotation()), RecordedHealth(), threading.Event()
    tool.away = True
    with SentJournal(tmp_path / "j") as journal:
        thread = threading.Thread(
            target=poll_until,
            args=(tool, Delivery("mlflow", OPTIONS, journal, bridge.send), stopping, health),
            kwargs={"kind": "mlflow", "name": "ml", "poll_s": 0.01, "days": 1.0},
        )
        thread.start()
        wait_until(lambda: health.states.get("tool ml") == (False, "status 500"))
        bridge.away, tool.away = True, False
        wait_until(lambda: health.states.get("tool ml") == (False, "away"))
        bridge.away = False
        wait_until(lambda: health.states.get("tool ml") == (True, ""))
        stopping.set()
        thread.join(timeout=10.0)
    assert not thread.is_alive()
    assert bridge.kinds == ["correction"]
