"""Webhooks of tools at a real port: who may call, what is answered, and that a replay counts once."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from deploy.kafka.broker import free_port
from feedback.bridges.delivery import Delivery
from feedback.bridges.journal import SentJournal
from feedback.client import FeedbackUnconfirmed
from feedback.sending.event import OutgoingEvent, SentFeedback
from serving.bridges.receiver import run_receiver
from serving.bridges.webhook import FORMS, Webhook
from tests.unit.feedback.bridges.tool_options_builder import build_tool_options
from tests.unit.feedback.bridges.tools.payloads import build_argilla, build_label_studio, build_text
from tests.unit.serving.gateway.gateway_builder import (
    LOOPBACK,
    RecordedHealth,
    build_access,
    build_limits,
    wait_until,
)

SECRET = base64.b64encode(b"s" * 24).decode()


@dataclass(slots=True)
class Receiver:
    url: str
    sent: list[OutgoingEvent] = field(default_factory=list)
    away: bool = False

    def send(self, event: OutgoingEvent) -> SentFeedback:
        if self.away:
            raise FeedbackUnconfirmed(event, "away")
        self.sent.append(event)
        return SentFeedback(id=event.id, source=event.source, topic="t", partition=0, offset=0)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}{path}", content=content, headers=names, timeout=20.0, **LOOPBACK)

    def label_studio(self, body: Any, authorization: str = f"Bearer {SECRET}") -> httpx.Response:
        return self.post("/bridges/ls", body, authorization=authorization)

    def argilla(self, body: Any, *, secret: bytes = b"s" * 24, at_s: float | None = None) -> httpx.Response:
        content = json.dumps(body).encode()
        sent = str(int(time.time() if at_s is None else at_s))
        text = b".".join((b"msg_1", sent.encode(), content))
        signature = base64.b64encode(hmac.digest(secret, text, "sha256")).decode()
        signed = {"webhook_id": "msg_1", "webhook_timestamp": sent, "webhook_signature": f"v1,{signature}"}
        return self.post("/bridges/ar", content, **signed)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder, port = tmp_path_factory.mktemp("receiver"), free_port()
    running = Receiver(f"http://127.0.0.1:{port}")
    limits = build_limits(body_bytes_max=64 * 1024)
    with ExitStack() as stack:
        webhooks = {}
        for name, kind in (("ls", "label-studio"), ("ar", "argilla")):
            options = build_tool_options(name=name, people={"5": "ann"})
            journal = stack.enter_context(SentJournal(folder / f"{name}.jsonl"))
            verify, read = FORMS[kind]
            delivery = Delivery(kind, options, journal, lambda event: running.send(event))
            webhooks[name] = Webhook(
                options=options, verify=verify(SECRET), read=read, delivery=delivery, limits=limits
            )
        stopping, health = threading.Event(), RecordedHealth()
        thread = threading.Thread(
            target=run_receiver,
            args=(webhooks,),
            kwargs={
                "host": "127.0.0.1",
                "port": port,
                "limits": limits,
                "access": build_access(),
                "stopping": stopping,
                "health": health,
            },
        )
        thread.start()
        try:
            wait_until(lambda: _listens(running.url))
            yield running
        finally:
            stopping.set()
            thread.join(timeout=20.0)
            assert not thread.is_alive()
            assert health.checks == {"receiver": False}


def _listens(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5.0, **LOOPBACK).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(autouse=True)
def _fresh(receiver: Receiver) -> None:
    receiver.sent, receiver.away = [], False


def test_label_studios_webhook_is_sent_once(receiver: Receiver) -> None:
    payload = build_label_studio(build_text("correction", "cancel(1042)"), build_text("comment", "no"), id=70)
    first, replay = receiver.label_studio(payload), receiver.label_studio(payload)
    assert (first.status_code, first.json()) == (200, {"annotations": ["sent"]})
    assert (replay.status_code, replay.json()) == (200, {"annotations": ["repeated"]})
    [event] = receiver.sent
    assert (event.source, event.data["author"], event.data["comment"]) == ("bridge/ls", "ann", "no")
    assert (event.data["interaction"], event.data["agent"]) == ("i-1", "billing")


def test_argillas_webhook_is_sent_once(receiver: Receiver) -> None:
    assert receiver.argilla(build_argilla()).json() == {"annotations": ["sent"]}
    assert receiver.argilla(build_argilla(kind="response.updated")).json() == {"annotations": ["repeated"]}
    assert receiver.argilla(build_argilla(status="draft")).json() == {"annotations": []}
    [event] = receiver.sent
    assert (event.data["author"], event.data["corrected"]) == ("ann", "cancel(1042)")


def test_a_wrong_secret_or_signature_is_a_401_and_changes_nothing(receiver: Receiver) -> None:
    body = build_label_studio(id=71)
    answers = [
        receiver.label_studio(body, authorization=""),
        receiver.label_studio(body, authorization="Bearer other"),
        receiver.argilla(build_argilla(), secret=b"other"),
        receiver.argilla(build_argilla(), at_s=time.time() - 3600),
        receiver.post("/bridges/ar", build_argilla(), authorization=f"Bearer {SECRET}"),
    ]
    assert [answer.status_code for answer in answers] == [401] * 5
    assert all(answer.json()["error"]["code"] == "bad_signature" for answer in answers)
    assert receiver.sent == []


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"a":' * 100 + b"1" + b"}" * 100, b"[" + b"1," * 30_000 + b"1]"]
)
def test_a_body_is_decoded_only_after_its_sender_is_known(receiver: Receiver, body: bytes) -> None:
    answers = [
        receiver.post("/bridges/ls", body, authorization="Bearer other"),
        receiver.post("/bridges/ar", body, webhook_id="m", webhook_timestamp=str(int(time.time()))),
    ]
    assert [answer.status_code for answer in answers] == [401, 401]


def test_a_webhook_that_waited_is_signed_with_the_time_in_its_body(receiver: Receiver) -> None:
    body = json.dumps(build_argilla()).encode()
    written = str(int(datetime.fromisoformat(build_argilla()["timestamp"]).timestamp()))
    signature = base64.b64encode(hmac.digest(b"s" * 24, b".".join((b"m", written.encode(), body)), "sha256"))
    headers = {"webhook_id": "m", "webhook_timestamp": str(int(time.time()))}
    answer = receiver.post("/bridges/ar", body, **headers, webhook_signature=f"v1,{signature.decode()}")
    assert answer.json() == {"annotations": ["repeated"]}


@pytest.mark.parametrize(
    ("payload", "status", "reason"),
    [
        (build_label_studio(action="ANNOTATION_EATEN"), 400, "unknown_version"),
        (build_label_studio(result=7), 400, "invalid"),
        (build_label_studio(id=72, data={"clorad.agent": "billing"}), 422, "no_interaction"),
        (build_label_studio(id=73, completed_by=None), 422, "no_author"),
        (build_label_studio(id=74, data={"clorad.interaction": "i-1"}), 422, "no_agent"),
        (b"{", 400, "not JSON"),
        (b"[]", 400, "an object"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, 400, "levels deep"),
        (b'{"action": "' + b"x" * 70_000 + b'"}', 413, "larger than"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(
    receiver: Receiver, payload: Any, status: int, reason: str
) -> None:
    answer = receiver.label_studio(payload)
    assert (answer.status_code, reason in answer.json()["error"]["message"]) == (status, True), answer.text
    assert receiver.sent == []


def test_an_unknown_version_of_argilla_is_refused(receiver: Receiver) -> None:
    answer = receiver.argilla(build_argilla(version=2))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_version")


def test_while_kafka_is_away_the_tool_is_asked_to_come_again(receiver: Receiver) -> None:
    receiver.away = True
    payload = build_label_studio(id=75)
    answer = receiver.label_studio(payload)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    receiver.away = False
    assert receiver.label_studio(payload).json() == {"annotations": ["sent"]}


def test_other_paths_and_methods_are_refused(receiver: Receiver) -> None:
    assert receiver.post("/bridges/other", {}).status_code == 404
    assert httpx.get(f"{receiver.url}/bridges/ls", timeout=5.0, **LOOPBACK).status_code == 405
