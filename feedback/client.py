"""The client for programs that give feedback: `Feedback`, and `AsyncFeedback` for event loops.

It posts to a gateway (`https://gateway.example`) or writes to Kafka (`kafka://broker:9092,broker2:9092`).
Each call returns once Kafka has the event. What fails in passing is tried again under the same id, and so
counts once. `feedback/CLIENT.md` has examples.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypedDict, TypeVar, Unpack
from urllib.parse import unquote

from feedback.sending.attempts import TRIES_MAX, Attempts, SendAgain
from feedback.sending.event import FeedbackRefused, OutgoingEvent, SentFeedback, build_outgoing_event

if TYPE_CHECKING:
    from feedback.sending.http_sender import AsyncHttpSender, HttpSender
    from feedback.sending.kafka_sender import AsyncKafkaSender, KafkaSender
    from feedback.signing import SigningKey

__all__ = ["AsyncFeedback", "Feedback", "FeedbackRefused", "FeedbackUnconfirmed", "SentFeedback"]

SOURCE = "clorad-client"
SEND_S_MAX = 60.0
"""Seconds that one event may take with all its tries."""

KAFKA_SCHEME = "kafka://"
_GATEWAYS_OWN = "clorad/gateway"

Reply = str | Mapping[str, Any]
"""A text, or an assistant message as OpenAI's API has it."""
Result = TypeVar("Result")


class FeedbackUnconfirmed(Exception):
    """Nobody confirmed the event in time. It may be stored all the same: `send(fault.event)` sends it again
    under the same id, and it counts once."""

    def __init__(self, event: OutgoingEvent, reason: str) -> None:
        super().__init__(f"not confirmed ({reason}); sent again under the id {event.id} it counts once")
        self.event, self.reason = event, reason


class Named(TypedDict, total=False):
    """Whose event it is, and its name."""

    agent: str
    author: str  # over HTTP with a key: the key's name, whatever is given here
    event_id: str  # CloudEvents `id`; a random one if not given
    at: datetime  # when it happened; now if not given


class AboutAnswer(Named, total=False):
    """What the feedback is about: an interaction, or the request itself. `feedback/wire.py` has fields."""

    interaction: str
    conversation: str
    turn: int
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    chat_template_kwargs: Mapping[str, Any]
    key: str
    amends: str
    revision: int


class _Verbs(ABC, Generic[Result]):
    """What can be said. Each verb sends one event and gives what `send` gives.

    `key` is a gateway's key, from `clorad keys create`; `signing_key` signs what goes to Kafka
    (`deploy/RUNBOOK.md`, signed producers), with `kafka_options` for every kafka-python client (TLS, SASL).
    `agent` and `author` are used where a call names none. Raises `ValueError` for a URL or options that
    cannot be used together.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        signing_key: "SigningKey | None" = None,
        kafka_options: Mapping[str, Any] | None = None,
        agent: str | None = None,
        author: str | None = None,
        source: str = SOURCE,
        tries_max: int = TRIES_MAX,
        wait_s_max: float = SEND_S_MAX,
    ) -> None:
        self._agent, self._author, self._source = agent, author, source
        self._tries_max, self._wait_s_max = tries_max, wait_s_max
        self._is_kafka = url.startswith(KAFKA_SCHEME)
        if self._is_kafka:
            if key is not None:
                raise ValueError("key is for a gateway; a kafka:// client has a signing_key")
            self._connect_kafka(_kafka_sender(url, signing_key, kafka_options or {}))
        else:
            if not url.startswith(("http://", "https://")):
                raise ValueError("the URL begins with http://, https:// or kafka://")
            if signing_key is not None or kafka_options is not None:
                raise ValueError("signing_key and kafka_options are for kafka://")
            self._connect_http(url, key)

    @abstractmethod
    def _connect_http(self, url: str, key: str | None) -> None: ...

    @abstractmethod
    def _connect_kafka(self, sender: "KafkaSender") -> None: ...

    @abstractmethod
    def send(self, event: OutgoingEvent) -> Result:
        """Send an event that was built, or send it again. Raises `FeedbackRefused`, `FeedbackUnconfirmed`."""

    def correct(
        self,
        corrected: Reply,
        *,
        rejected: Reply | None = None,
        comment: str | None = None,
        **about: Unpack[AboutAnswer],
    ) -> Result:
        """The agent should have answered `corrected`. Raises as `send` does."""
        return self._say(
            "correction", {"corrected": corrected, "rejected": rejected, "comment": comment}, about
        )

    def approve(
        self, *, said: Reply | None = None, reason: str | None = None, **about: Unpack[AboutAnswer]
    ) -> Result:
        """The answer is right, and should stay as it is. Raises as `send` does."""
        return self._say("intervention", {"action": "approve", "said": said, "reason": reason}, about)

    def reject(
        self, *, said: Reply | None = None, reason: str | None = None, **about: Unpack[AboutAnswer]
    ) -> Result:
        """The answer is wrong; nobody says what would be right. Raises as `send` does."""
        return self._say("intervention", {"action": "reject", "said": said, "reason": reason}, about)

    def take_over(
        self, turns: Sequence[Mapping[str, Any]], *, reason: str | None = None, **about: Unpack[AboutAnswer]
    ) -> Result:
        """An operator answered in the agent's place: `turns` from then on, the operator's as role assistant.

        Raises as `send` does.
        """
        return self._say(
            "intervention", {"action": "takeover", "turns": list(turns), "reason": reason}, about
        )

    def outcome(
        self,
        value: float,
        *,
        scope: Literal["final", "all"] | None = None,
        task: str | None = None,
        said: Reply | None = None,
        **about: Unpack[AboutAnswer],
    ) -> Result:
        """Something ended well (1) or badly (-1), or between: the last turn, or all of them.

        Without `scope` it is all of them where only a conversation is named. Raises as `send` does.
        """
        return self._say(
            "outcome", {"value": float(value), "scope": scope, "task": task, "said": said}, about
        )

    def retract(self, event: SentFeedback | str, **named: Unpack[Named]) -> Result:
        """The event must not be learned from: one that was sent, or its name as SOURCE#ID.

        Only its author can retract it, under its source. Raises as `send` does.
        """
        uid = event.uid if isinstance(event, SentFeedback) else event
        source, sign, target = uid.rpartition("#")
        if not sign or not source or not target:
            raise FeedbackRefused("an event is named SOURCE#ID")
        return self._say(
            "retraction", {"target": {"source": source, "id": target}}, named, source=_own_source(source)
        )

    def _say(
        self, kind: str, own: Mapping[str, Any], about: AboutAnswer | Named, *, source: str | None = None
    ) -> Result:
        data = {"agent": self._agent, "author": self._author, **about, **own}
        event_id, at = data.pop("event_id", None), data.pop("at", None)
        for name in ("messages", "tools"):
            if data.get(name) is not None:
                data[name] = list(data[name])
        return self.send(
            build_outgoing_event(
                kind,
                data,
                source=source or self._source,
                event_id=event_id,
                at=at,
                has_author=self._is_kafka,
            )
        )


class Feedback(_Verbs[SentFeedback]):
    """Sends feedback and waits. Threads may share it."""

    _sender: "HttpSender | KafkaSender"

    def send(self, event: OutgoingEvent) -> SentFeedback:
        """Send an event that was built, or send it again. Raises `FeedbackRefused`, `FeedbackUnconfirmed`."""
        attempts = Attempts(self._wait_s_max, tries_max=self._tries_max)
        while True:
            try:
                return self._sender.post(event, left_s=attempts.left_s)
            except SendAgain as fault:
                wait_s = attempts.wait_s(fault)
                if wait_s is None:
                    raise FeedbackUnconfirmed(event, fault.reason) from None
            time.sleep(wait_s)

    def close(self) -> None:
        """Close its connections."""
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect_http(self, url: str, key: str | None) -> None:
        from feedback.sending.http_sender import HttpSender

        self._sender = HttpSender(url, key)

    def _connect_kafka(self, sender: "KafkaSender") -> None:
        self._sender = sender


class AsyncFeedback(_Verbs[Coroutine[Any, Any, SentFeedback]]):
    """The same for event loops: await what each verb gives."""

    _sender: "AsyncHttpSender | AsyncKafkaSender"

    async def send(self, event: OutgoingEvent) -> SentFeedback:
        """Send an event that was built, or send it again. Raises `FeedbackRefused`, `FeedbackUnconfirmed`."""
        attempts = Attempts(self._wait_s_max, tries_max=self._tries_max)
        while True:
            try:
                return await self._sender.post(event, left_s=attempts.left_s)
            except SendAgain as fault:
                wait_s = attempts.wait_s(fault)
                if wait_s is None:
                    raise FeedbackUnconfirmed(event, fault.reason) from None
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """Close its connections."""
        await self._sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _connect_http(self, url: str, key: str | None) -> None:
        from feedback.sending.http_sender import AsyncHttpSender

        self._sender = AsyncHttpSender(url, key)

    def _connect_kafka(self, sender: "KafkaSender") -> None:
        from feedback.sending.kafka_sender import AsyncKafkaSender

        self._sender = AsyncKafkaSender(sender)


def _kafka_sender(url: str, key: "SigningKey | None", options: Mapping[str, Any]) -> "KafkaSender":
    """The sender of a Kafka URL. Raises `ValueError`."""
    from feedback.connection import Kafka
    from feedback.sending.kafka_sender import KafkaSender

    servers = url.removeprefix(KAFKA_SCHEME).strip("/")
    return KafkaSender(Kafka(bootstrap_servers=servers, options=options), key=key)


def _own_source(source: str) -> str:
    """The source that the client named, of one that a gateway put the author into."""
    if not source.startswith(f"{_GATEWAYS_OWN}/"):
        return source
    own = source.removeprefix(f"{_GATEWAYS_OWN}/").partition("/")[2]
    return unquote(own) or _GATEWAYS_OWN
