"""Posts messages to one webhook. Whatever the receiver does, a try ends within its time and reads no body.

A try runs in a thread that nobody waits for longer than that: a name server that hangs, or a receiver that
sends one byte a second, holds up this receiver's messages and nothing else.
"""

import threading
import time
from dataclasses import dataclass

import httpx

from daemon.notices.messages import WebhookMessage
from serving.certificates import authorities

_STEP_S = 0.05  # between two looks whether the role stops
_PASSING = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class PostOutcome:
    """What became of one try."""

    delivered: bool
    reason: str  # it was not delivered; nothing of what the receiver said
    is_refusal: bool = False  # the receiver does not want this message (4xx): another try may be in vain


class Courier:
    """Posts to one URL, and to no other: it follows no redirect, and uses no proxy of the environment."""

    def __init__(self, url: str, secret: bytes, *, timeout_s: float) -> None:
        self._url = url
        self._secret = secret
        self._timeout_s = timeout_s
        self._authorities = authorities()  # loading them takes longer than a try may
        self._thread: threading.Thread | None = None

    def post(self, message: WebhookMessage, over: threading.Event | None = None) -> PostOutcome:
        """Try once. Returns early once `over` is set; the message may have been delivered all the same."""
        if self._thread is not None and self._thread.is_alive():
            return PostOutcome(delivered=False, reason="the try before has not ended")
        outcomes: list[PostOutcome] = []
        self._thread = threading.Thread(
            target=lambda: outcomes.append(self._tried(message)), name="notice", daemon=True
        )
        ends_s = time.monotonic() + self._timeout_s
        self._thread.start()
        while self._thread.is_alive() and time.monotonic() < ends_s:
            if over is not None and over.is_set():
                return PostOutcome(delivered=False, reason="the role stops")
            self._thread.join(_STEP_S)
        if outcomes:
            return outcomes[0]
        return PostOutcome(delivered=False, reason=f"no answer within {self._timeout_s:g} s")

    def _tried(self, message: WebhookMessage) -> PostOutcome:
        try:
            status = self._status(message)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as fault:
            return PostOutcome(delivered=False, reason=type(fault).__name__)
        if 200 <= status < 300:
            return PostOutcome(delivered=True, reason="")
        is_refusal = 300 <= status < 500 and status not in _PASSING
        return PostOutcome(delivered=False, reason=f"status {status}", is_refusal=is_refusal)

    def _status(self, message: WebhookMessage) -> int:
        """The status of the answer; its body is not read."""
        headers = message.headers(self._secret, now_s=time.time())
        with (
            httpx.Client(
                verify=self._authorities, trust_env=False, follow_redirects=False, timeout=self._timeout_s
            ) as client,
            client.stream("POST", self._url, content=message.body, headers=headers) as response,
        ):
            return response.status_code
