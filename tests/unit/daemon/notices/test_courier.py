"""A try to reach a webhook is signed, ends within its time, and reaches the configured URL alone."""

import threading
import time

import pytest

from daemon.notices.courier import Courier
from daemon.notices.messages import trial
from feedback.bridges.webhook_secrets import WebhookRefused, check_signature
from tests.fakes.receiver import FakeReceiver, receiving

SECRET = b"a secret of twenty-four bytes or more"
MESSAGE = trial("msg_1", form="standard", now_s=1_800_000_000.0)


def courier(receiver: FakeReceiver, timeout_s: float = 5.0) -> Courier:
    return Courier(receiver.url, SECRET, timeout_s=timeout_s)


def test_a_message_is_signed_so_that_its_receiver_can_verify_it() -> None:
    with receiving() as receiver:
        assert courier(receiver).post(MESSAGE).delivered
        [(headers, body)] = receiver.posts
    assert headers["content-type"] == "application/json"
    check_signature(headers, body, SECRET, now_s=time.time())
    with pytest.raises(WebhookRefused):
        check_signature(headers, body + b" ", SECRET, now_s=time.time())


def test_every_try_has_the_same_id_and_body() -> None:
    with receiving() as receiver:
        receiver.status = 503
        own = courier(receiver)
        assert not own.post(MESSAGE).delivered
        receiver.status = 200
        assert own.post(MESSAGE).delivered
        [(first, body), (second, same)] = receiver.posts
    assert (first["webhook-id"], body) == (second["webhook-id"], same)


def test_a_redirect_is_not_followed() -> None:
    with receiving() as receiver, receiving() as elsewhere:
        receiver.status, receiver.location = 307, elsewhere.url
        outcome = courier(receiver).post(MESSAGE)
        assert (outcome.delivered, outcome.reason, outcome.is_refusal) == (False, "status 307", True)
        assert elsewhere.posts == []


def test_a_receiver_that_never_ends_its_headers_holds_up_one_try() -> None:
    with receiving() as receiver:
        receiver.slow = True
        own = courier(receiver, timeout_s=1.0)
        assert own.post(MESSAGE).reason == "no answer within 1 s"
        assert own.post(MESSAGE).reason == "the try before has not ended", "one thread at most"
        assert len(receiver.posts) == 1


def test_the_body_of_the_answer_is_not_read() -> None:
    with receiving() as receiver:
        receiver.status, receiver.endless = 200, True
        assert courier(receiver).post(MESSAGE).delivered


@pytest.mark.parametrize(
    ("status", "is_refusal"), [(400, True), (410, True), (408, False), (429, False), (500, False)]
)
def test_a_refusal_is_told_from_a_fault_that_passes(status: int, is_refusal: bool) -> None:
    with receiving() as receiver:
        receiver.status = status
        outcome = courier(receiver).post(MESSAGE)
    assert (outcome.delivered, outcome.reason, outcome.is_refusal) == (False, f"status {status}", is_refusal)


def test_nobody_listens() -> None:
    outcome = Courier("http://127.0.0.1:1/hook", SECRET, timeout_s=5.0).post(MESSAGE)
    assert (outcome.delivered, outcome.reason, outcome.is_refusal) == (False, "ConnectError", False)


def test_a_role_that_stops_does_not_wait_for_the_receiver() -> None:
    over = threading.Event()
    over.set()
    with receiving() as receiver:
        receiver.slow = True
        assert courier(receiver, timeout_s=30.0).post(MESSAGE, over).reason == "the role stops"
