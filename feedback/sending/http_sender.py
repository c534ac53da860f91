"""Posts events to a gateway's `/v1/feedback`. Each call is one try, in a thread or in an event loop."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from feedback.sending.attempts import SendAgain
from feedback.sending.event import FeedbackRefused, OutgoingEvent, SentFeedback

PATH = "/v1/feedback"
CONNECT_S_MAX = 5.0
TRY_S_MAX = 15.0
"""Seconds of one try: a gateway waits 12 s for Kafka."""

_REASON_CHARS_MAX = 500


class HttpSender:
    """The blocking form. Threads may share it."""

    def __init__(self, url: str, key: str | None) -> None:
        self._client = httpx.Client(**_options(url, key))

    def post(self, event: OutgoingEvent, *, left_s: float) -> SentFeedback:
        """Kafka has the event afterwards. Raises `SendAgain`, `FeedbackRefused`."""
        try:
            response = self._client.post(PATH, content=event.structured(), timeout=_timeout(left_s))
        except httpx.TransportError as fault:
            raise SendAgain(type(fault).__name__) from None
        return _read(response)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


class AsyncHttpSender:
    """The form for event loops."""

    def __init__(self, url: str, key: str | None) -> None:
        self._client = httpx.AsyncClient(**_options(url, key))

    async def post(self, event: OutgoingEvent, *, left_s: float) -> SentFeedback:
        """The same as `HttpSender.post`."""
        try:
            response = await self._client.post(PATH, content=event.structured(), timeout=_timeout(left_s))
        except httpx.TransportError as fault:
            raise SendAgain(type(fault).__name__) from None
        return _read(response)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def retry_after_s(value: str | None, now: datetime) -> float:
    """Seconds of a `Retry-After` header: a number, or a date (RFC 9110, section 10.2.3). 0 where it is
    neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _options(url: str, key: str | None) -> Mapping[str, Any]:
    # Redirects are not followed: they would take the key elsewhere.
    headers = {"content-type": "application/cloudevents+json"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return {"base_url": url.rstrip("/"), "headers": headers, "follow_redirects": False}


def _timeout(left_s: float) -> httpx.Timeout:
    s_max = max(0.001, min(left_s, TRY_S_MAX))
    return httpx.Timeout(s_max, connect=min(s_max, CONNECT_S_MAX))


def _read(response: httpx.Response) -> SentFeedback:
    status = response.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        wait_s = retry_after_s(response.headers.get("retry-after"), datetime.now(UTC))
        raise SendAgain(f"status {status}", retry_after_s=wait_s)
    answer = _object_in(response)
    if status != httpx.codes.ACCEPTED:
        error = answer.get("error")
        reason = error.get("message") if isinstance(error, dict) else None
        raise FeedbackRefused(str(reason or "refused")[:_REASON_CHARS_MAX], status=status)
    try:
        return SentFeedback(
            id=str(answer["id"]),
            source=str(answer["source"]),
            topic=str(answer["topic"]),
            partition=int(answer["partition"]),
            offset=int(answer["offset"]),
        )
    except (KeyError, TypeError, ValueError):
        raise FeedbackRefused("this URL is not a clorad gateway's", status=status) from None


def _object_in(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
