"""The types of stored feedback: events, interactions, and records that could not be used.

`ledger.intake.transaction` stores them; `ledger.learning.event_queries` reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Headers = tuple[tuple[str, bytes | None], ...]
"""A Kafka record's headers in order; keys may repeat."""


class Role(StrEnum):
    """The use of an event, fixed when its prompt is first known and never changed."""

    TRAIN = "train"
    DEV = "dev"
    GATE = "gate"


class Kind(StrEnum):
    """The kind of an event. Each action of an intervention is a kind."""

    CORRECTION = "correction"
    TAKEOVER = "takeover"
    OVERRIDE = "override"
    ABORT = "abort"
    APPROVE = "approve"
    REJECT = "reject"
    OUTCOME = "outcome"
    RETRACTION = "retraction"


TEACHING = (Kind.CORRECTION, Kind.TAKEOVER, Kind.OVERRIDE, Kind.ABORT, Kind.REJECT, Kind.OUTCOME)
"""Kinds that make an agent due. Approvals are trained beside them: they show what should stay as it is."""

CORRECTING = (Kind.CORRECTION, Kind.OVERRIDE)
"""Kinds that have the right answer: candidates are judged by those of role `gate`."""


WAITS_FOR_ANOTHER = "waits for a second person"
"""Why a correction waits that too few people stand behind (`rewards.supporters`)."""

NEWER_CORRECTION = "a newer one replaced it"
"""How the reason begins why planning supersedes an event of the same prompt: nobody took it back."""


class Status(StrEnum):
    """The status of an event: whether it can be used."""

    OPEN = "open"  # usable
    WAITING = "waiting"  # names an interaction that has not arrived, or needs another person
    SUPERSEDED = "superseded"  # a later revision, or a newer correction by the same author, replaced it
    RETRACTED = "retracted"
    UNDONE = "undone"  # it withdrew an event that a person restored: it counts no more, nor does what it did
    HELD = "held"  # a version taught with it was rolled back
    CONTESTED = "contested"  # people disagree, or it made its turn fail; a person decides
    BARREN = "barren"  # no episode can be made of it
    KNOWN = "known"  # the agent answered as corrected before it was taught
    NOT_YOURS = "not_yours"  # acts on other people's event, without the right to
    APPLIED = "applied"  # a retraction: it took effect, or does when its target arrives


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
    BAD_SIGNATURE = "bad_signature"
    UNSIGNED = "unsigned"  # and the agent demands a signature for what it says
    ORPHAN = "orphan"
    POISON = "poison"


@dataclass(frozen=True, slots=True, kw_only=True)
class Openings:
    """What a conversation began with, as SHA-256 in hex: the ledger finds its prompt group by them."""

    prefixes: tuple[str, ...]  # of what users and tools said: the first message, the first two, and so on
    whole: str | None  # by all, instructions and the agent's own words included; None: there are none


ACT_RIGHT = "act"
"""The right to amend and retract other people's events (`cloradrights` of a signed event)."""


class Trust(StrEnum):
    """The two levels. A signed event has all that an unsigned one has."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"

    def reaches(self, least: "Trust") -> bool:
        """Whether this level is at least `least`."""
        return self is Trust.SIGNED or least is Trust.UNSIGNED


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
    occurred_s: float | None = None  # by the sender's clock, but never later than Kafka received the record
    trace: str | None = None  # W3C traceparent
    trust: Trust = Trust.UNSIGNED
    signer: str | None = None  # id of the key that signed it
    key_id: str | None = None  # id of the API key by which a gateway knew the author
    rights: frozenset[str] = frozenset()  # of the author; never without a signature
    acts: bool = False  # may change other people's events
    claimed_id: str | None = None  # the id it was sent with, where somebody else used that before

    def may_change(self, other: "Event") -> bool:
        """Whether it may amend or revert the other: it is of the same source and author, or it acts."""
        is_own = (self.source, self.author) == (other.source, other.author)
        return self.acts or (is_own and self.trust.reaches(other.trust))

    @property
    def uid(self) -> str:
        """The name of the event for people and in manifests."""
        return f"{self.source}#{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvent:
    """An event with the fields that the ledger added."""

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
    """What an agent was asked and what it answered, with the version that answered."""

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
    reply: Mapping[str, Any] | None = None  # the assistant message, where it is more than `completion`
    request: Mapping[str, Any] = field(default_factory=dict)  # tools and whatever else the prompt was made of
    restrictions: tuple[str, ...] = ()  # fields of the request that kept other tokens from being sampled
    packed_prompt: bytes | None = None  # the ids of the prompt that the model read (`feedback.token_ids`)
    ids_left_out: str | None = None  # why there are none, where its gateway said so
    prompt_group: str = ""
    role: Role | None = None  # None before it is stored
    openings: Openings | None = None  # before it is stored
    forgotten: int | None = None  # the erasure that took its texts


class Signal(StrEnum):
    """A sign that an answer was bad. Each is counted once a conversation."""

    CORRECTION = "correction"  # somebody corrected or overrode an answer
    INTERVENTION = "intervention"  # somebody took over, aborted or rejected
    OUTCOME = "outcome"  # an outcome below zero
    ERROR = "error"  # the replicas failed, or the answer broke off
    INVALID_TOOL_CALL = "invalid_tool_call"  # arguments are no JSON object, or the tool was not offered
    LENGTH = "length"  # an answer that was cut at the limit of tokens, or an empty one
    REFUSAL = "refusal"  # the model refused to answer


FROM_PEOPLE = (Signal.CORRECTION, Signal.INTERVENTION, Signal.OUTCOME)
"""Signals that arrive as events of the feedback topic."""

FROM_GATEWAYS = (Signal.ERROR, Signal.INVALID_TOOL_CALL, Signal.LENGTH, Signal.REFUSAL)
"""Signals that gateways see."""

FROM_ANSWERS = (Signal.INVALID_TOOL_CALL, Signal.LENGTH, Signal.REFUSAL)
"""Signals of what a model says, whatever people want and replicas do at the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCounts:
    """What one version did since the record before."""

    conversations: int  # that it answered first in this step
    signals: Mapping[Signal, tuple[str, ...]]  # fingerprints of the conversations that showed each signal


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCounts:
    """One record of one gateway about one agent, while one canary had one share of the conversations."""

    producer: str  # one process of a gateway
    sequence: int  # of its records about this agent, from 1
    agent: str
    canary: str  # version, as in v7-3fa2c1; empty where none had a share
    share: float  # of the canary; 0 where there was none
    versions: Mapping[str, VersionCounts]  # by version


SILENCE = "clorad/silence"
"""The source in the uid of a captured reply that nobody objected to. The ledger has no event of it."""


def silence_uid(interaction: str) -> str:
    """How manifests and evidence name a captured reply that nobody objected to."""
    return f"{SILENCE}#{interaction}"


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
    """One Kafka record and its content. `key`, `value`, `headers` are stored if it becomes a dead letter."""

    offset: int
    key: bytes | None
    value: bytes | None  # after redaction
    headers: Headers
    content: Event | Interaction | LiveCounts | UnusableRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The offsets of one partition from `start` up to `end`, and every record in them."""

    partition: Partition
    start: int
    end: int
    arrivals: tuple[Arrival, ...]
    gap: str | None = None  # why intake skipped these offsets: retention, a record that cannot be decoded

    def __post_init__(self) -> None:
        assert self.start < self.end, "a batch covers offsets"
        assert all(self.start <= arrival.offset < self.end for arrival in self.arrivals)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that could not be used, stored whole."""

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
    redriven_by: str | None = None
    redriven_why: str | None = None
