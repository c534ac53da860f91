"""Posts JSON to a server that scores answers, within bounds of time, size and tries."""

import json
import time
from collections.abc import Mapping
from typing import Any

import httpx

from serving.certificates import authorities
from serving.scoring.own import NoScore

TRIES_MAX = 3
RETRY_WAIT_S = 0.2
CONNECT_S_MAX = 5.0
_REPLY_BYTES_MAX = 1_048_576
_PASSING = frozenset({408, 429, 500, 502, 503, 504})  # worth another try


class ScoringClient:
    """One URL. Threads may share it."""

    def __init__(self, url: str, *, headers: Mapping[str, str], wait_s_max: float) -> None:
        self._url = url
        self._wait_s_max = wait_s_max
        # Redirects are not followed: they would take the secret elsewhere.
        self._client = httpx.Client(
            headers={**headers, "accept-encoding": "identity"},
            verify=authorities(),
            trust_env=False,
            follow_redirects=False,
        )

    def post(self, body: Mapping[str, Any]) -> Any:
        """The JSON that the server answers. All tries take `wait_s_max` seconds at most. Raises `NoScore`."""
        ends_s = time.monotonic() + self._wait_s_max
        content = json.dumps(body, default=str).encode()
        fault = ""
        for attempt in range(TRIES_MAX):
            time.sleep(RETRY_WAIT_S * 2 ** (attempt - 1) if attempt else 0.0)
            if time.monotonic() >= ends_s:
                break
            try:
                status, reply = self._try(content, ends_s)
            except httpx.TimeoutException:
                raise NoScore(f"silent for {self._wait_s_max:g} s") from None
            except httpx.HTTPError as broke:
                fault = type(broke).__name__
                continue
            if status == httpx.codes.OK:
                return _decoded(reply)
            fault = f"status {status}"
            if status not in _PASSING:
                break
        raise NoScore(fault or f"silent for {self._wait_s_max:g} s")

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _try(self, content: bytes, ends_s: float) -> tuple[int, bytes]:
        left_s = max(0.001, ends_s - time.monotonic())
        timeout = httpx.Timeout(left_s, connect=min(CONNECT_S_MAX, left_s))
        reply = bytearray()
        with self._client.stream(
            "POST", self._url, content=content, headers={"content-type": "application/json"}, timeout=timeout
        ) as response:
            for part in response.iter_raw():
                reply += part
                if len(reply) > _REPLY_BYTES_MAX:
                    raise NoScore(f"it answered more than {_REPLY_BYTES_MAX} bytes")
                if time.monotonic() > ends_s:
                    raise httpx.ReadTimeout("")
            return response.status_code, bytes(reply)


def _decoded(reply: bytes) -> Any:
    try:
        return json.loads(reply)
    except (ValueError, RecursionError):
        raise NoScore("it answered something else than JSON") from None
