"""What people told us, as the ledger knows it: events, interactions, and records that could not be used.

These are the nouns. `ledger.intake.transaction` keeps them; `ledger.learning.event_queries` reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

Headers = tuple[tuple[str, bytes | None], ...]
"""A Kafka record's headers in order; keys may repeat."""


class Role(StrEnum):
    """What an event may be used for, fixed when its prompt is first known and never changed."""

    TRAIN = "train"
    DEV = "dev"
    GATE = "gate"


class Kind(StrEnum):
    """What somebody did. An intervention's action is a kind of its own."""

    CORRECTION = "correction"
    TAKEOVER = "takeover"
    OVERRIDE = "override"
    ABORT = "abort"
    APPROVE = "approve"
    REJECT = "reject"
    OUTCOME = "outcome"
    RETRACTION = "retraction"


TEACHING = (Kind.CORRECTION, Kind.TAKEOVER, Kind.OVERRIDE, Kind.ABORT, Kind.REJECT, Kind.OUTCOME)
"""Kinds that make an agent due. Approvals ride along: they say where nothing should change."""

CORRECTING = (Kind.CORRECTION, Kind.OVERRIDE)
"""Kinds that name the right answer: of role `gate`, they are what a candidate is judged on."""


class Status(StrEnum):
    """What may still become of an event."""

    OPEN = "open"  # usable
    WAITING = "waiting"  # names an interaction that has not arrived
    SUPERSEDED = "superseded"  # a later revision, or a newer correction by the same author, replaced it
    RETRACTED = "retracted"
    HELD = "held"  # a version taught with it was rolled back
    CONTESTED = "contested"  # people disagree, or it made its turn fail; a person decides
    BARREN = "barren"  # labels to nothing
    KNOWN = "known"  # the agent already answered so
    APPLIED = "applied"  # a retraction that took effect, or waits for its target


class Reason(StrEnum):
    """Why a record became a dead letter."""

    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    TOO_DEEP = "too_deep"
    OVERSIZED = "oversized"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_AGENT = "unknown_agent"
    INVALID_SCHEMA = "invalid_schema"
    EMPTY = "empty"
    CONFLICT = "conflict"
    ORPHAN = "orphan"
    POISON = "poison"


@dataclass(frozen=True, slots=True, kw_only=True)
class Openings:
    """What a conversation began with, as SHA-256 in hex: the ledger finds its prompt group by them."""

    told: tuple[str, ...]  # by what users and tools said: the first message, the first two, and so on
    whole: str | None  # by all, instructions and the agent's own words included; None: there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One usable CloudEvent of the feedback topic, after redaction."""

    source: str
    id: str
    digest: str  # HMAC-SHA256 (hex) of the raw bytes, before redaction
    kind: Kind
    agent: str
    author: str
    conversation: str | None = None
    interaction: str | None = None
    turn: int | None = None
    key: str | None = None
    amends: str | None = None
    revision: int = 1
    role: Role | None = None  # None before it is stored, and while only an interaction knows its prompt
    prompt_group: str | None = None
    openings: Openings | None = None  # of its own messages, before it is stored
    data: Mapping[str, Any]  # the wire's `data`
    occurred_s: float | None = None  # the sender's clock, but never later than Kafka got the record
    trace: str | None = None  # W3C traceparent

    @property
    def uid(self) -> str:
        """How people and manifests name the event."""
        return f"{self.source}#{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvent:
    """An event with what the ledger added."""

    seq: int
    event: Event
    status: Status
    received_s: float
    topic: str = ""
    partition: int = 0
    offset: int = 0
    forgotten: int | None = None  # the erasure that took its texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """What an agent was asked and said, by which version."""

    id: str
    agent: str
    version: str
    conversation: str | None
    turn: int | None
    messages: tuple[Mapping[str, Any], ...]
    completion: str
    token_ids: tuple[int, ...] | None  # None where redaction changed the text
    logprobs: tuple[float, ...] | None
    sampling: Mapping[str, Any]
    finish_reason: str | None
    prompt_group: str = ""
    role: Role | None = None  # None before it is stored
    openings: Openings | None = None  # before it is stored
    forgotten: int | None = None  # the erasure that took its texts


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableRecord:
    """Why a record cannot be used. `detail` names fields and types, never what people wrote."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition of one topic incarnation. A topic deleted and made again has another id."""

    cluster_id: str
    topic: str
    topic_id: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One Kafka record and what it turned out to be. `key`, `value`, `headers` are kept if it is dead."""

    offset: int
    key: bytes | None
    value: bytes | None  # after redaction
    headers: Headers
    content: Event | Interaction | UnusableRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Offsets `start` up to `end` of one partition, and every record that was in them."""

    partition: Partition
    start: int
    end: int
    arrivals: tuple[Arrival, ...]
    gap: str | None = None  # set where offsets were given up: retention, skipped poison

    def __post_init__(self) -> None:
        assert self.start < self.end, "a batch covers offsets"
        assert all(self.start <= arrival.offset < self.end for arrival in self.arrivals)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that could not be used, kept whole."""

    id: int
    topic: str
    partition: int
    offset: int
    reason: Reason
    detail: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    received_s: float
    redriven_s: float | None
    forgotten: int | None = None  # the erasure that took its bytes


Fate = Literal["stored", "dead", "duplicate"]
