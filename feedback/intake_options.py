"""The options of intake. An option that is a setting has no default here: `daemon.settings` has it."""

from dataclasses import dataclass, field
from typing import Literal

from feedback.topics import Topics

SESSION_MS = 10_000
"""Milliseconds after which the group gives the partitions of a killed member to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOptions:
    """The options of one intake process."""

    group: str
    instance: str | None  # KIP-345
    first_start: Literal["committed", "beginning", "end"]
    on_gap: Literal["halt", "continue"]
    records_max: int  # that one poll returns
    join_s_max: float  # seconds that feedback waits for its interaction
    administrators: frozenset[str]
    unsigned_captures: bool  # on the interactions topic, what no gateway signed is read too
    topics: Topics = field(default_factory=Topics)
    session_ms: int = SESSION_MS
    still_s_max: float = 120.0  # seconds behind and at the same offset, until intake reports it
    dead_share_max: float = 0.5  # of the last records, above which intake rests
