"""Webhooks of git hosts at a real port: who may call, and which of them have a branch scanned."""

import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from deploy.kafka.broker import free_port
from feedback.bridges.git.webhooks import BranchUpdate
from serving.bridges.git_webhook import GitWebhook
from serving.bridges.receiver import run_receiver
from tests.unit.feedback.bridges.git.test_webhooks import MERGED, TIP, github_merge, gitlab_merge, push
from tests.unit.serving.gateway.gateway_builder import (
    LOOPBACK,
    RecordedHealth,
    build_access,
    build_limits,
    wait_until,
)

SECRET = "a-shared-secret"


@dataclass(slots=True)
class GitReceiver:
    url: str
    asked: list[BranchUpdate] = field(default_factory=list)

    def post(self, name: str, body: bytes, **headers: str) -> httpx.Response:
        names = {key.replace("_", "-"): value for key, value in headers.items()}
        return httpx.post(
            f"{self.url}/bridges/git/{name}", content=body, headers=names, timeout=20.0, **LOOPBACK
        )

    def github(self, payload: Any, *, secret: str = SECRET, event: str = "") -> httpx.Response:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signature = f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
        return self.post("hub", body, x_hub_signature_256=signature, x_github_event=event)

    def gitlab(self, payload: Any, *, secret: str = SECRET) -> httpx.Response:
        return self.post("lab", json.dumps(payload).encode(), x_gitlab_token=secret)

    def is_listening(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5.0, **LOOPBACK).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def running() -> Iterator[GitReceiver]:
    port = free_port()
    receiver = GitReceiver(f"http://127.0.0.1:{port}")
    limits = build_limits(body_bytes_max=64 * 1024)
    webhooks = {
        f"git/{name}": GitWebhook(
            host=host,
            repository="team/shop",
            branch="main",
            secret=SECRET,
            ask=lambda update: receiver.asked.append(update),
            limits=limits,
        )
        for name, host in (("hub", "github"), ("lab", "gitlab"))
    }
    stopping, options = threading.Event(), {"host": "127.0.0.1", "port": port, "limits": limits}
    options |= {"access": build_access(), "stopping": stopping, "health": RecordedHealth()}
    thread = threading.Thread(target=run_receiver, args=(webhooks,), kwargs=options)
    thread.start()
    try:
        wait_until(receiver.is_listening)
        yield receiver
    finally:
        stopping.set()
        thread.join(timeout=20.0)
        assert not thread.is_alive()


@pytest.fixture
def receiver(running: GitReceiver) -> GitReceiver:
    running.asked.clear()
    return running


def test_a_merge_has_the_branch_scanned(receiver: GitReceiver) -> None:
    for answer in (receiver.github(github_merge()), receiver.gitlab(gitlab_merge())):
        assert (answer.status_code, answer.json()) == (202, {"scan": "soon"})
    update = BranchUpdate(repository="team/shop", branch="main", merges={TIP: MERGED})
    assert receiver.asked == [update, update]


def test_a_wrong_signature_or_token_scans_nothing(receiver: GitReceiver) -> None:
    answers = [
        receiver.github(github_merge(), secret="another-secret"),
        receiver.gitlab(gitlab_merge(), secret="another-secret"),
        receiver.post("hub", json.dumps(github_merge()).encode()),
        receiver.post("hub", b"not json"),
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 401]
    assert answers[0].json()["error"]["code"] == "bad_signature"
    assert receiver.asked == []


@pytest.mark.parametrize(
    "payload", [push(ref="refs/heads/topic"), github_merge(merged=False), {"zen": "…", "hook_id": 1}]
)
def test_what_changes_no_branch_of_interest_scans_nothing(receiver: GitReceiver, payload: Any) -> None:
    answer = receiver.github(payload)
    assert (answer.status_code, answer.json()) == (200, {"scan": "not needed"})
    assert receiver.asked == []


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (push(repository={"full_name": "team/other"}), 422),
        (github_merge(merge_commit_sha=None), 400),
        (b"not json", 400),
        (b"[]", 400),
        (b"x" * 100_000, 413),
    ],
)
def test_a_payload_that_cannot_be_used_is_refused(receiver: GitReceiver, payload: Any, status: int) -> None:
    assert receiver.github(payload).status_code == status
    assert receiver.asked == []


@pytest.mark.parametrize(
    ("event", "payload", "complaint"),
    [
        ("push", {"reference": "refs/heads/main", "repository": {}}, "ref: missing"),
        ("push", {"ref": "refs/heads/main"}, "repository: missing"),
        ("pull_request", {"change": {}}, "pull_request: missing"),
    ],
)
def test_a_payload_of_another_version_is_refused_with_the_reason(
    receiver: GitReceiver, event: str, payload: Any, complaint: str
) -> None:
    answer = receiver.github(payload, event=event)
    assert answer.status_code == 400
    assert complaint in answer.json()["error"]["message"]


def test_an_event_that_is_not_read_is_ignored(receiver: GitReceiver) -> None:
    assert receiver.github({"issue": {}}, event="issues").json() == {"scan": "not needed"}
    assert receiver.github(github_merge(), event="pull_request").json() == {"scan": "soon"}
