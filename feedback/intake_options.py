"""How an intake behaves. What is a setting has no default here: `daemon.settings` has it, with its reason."""

from dataclasses import dataclass, field
from typing import Literal

from feedback.topics import Topics

SESSION_MS = 10_000
"""For how long a member that was killed holds its partitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOptions:
    """Of one intake process."""

    group: str
    instance: str | None  # KIP-345
    first_start: Literal["committed", "beginning", "end"]
    on_gap: Literal["halt", "continue"]
    records_max: int  # a poll
    join_s_max: float  # feedback waits for its interaction
    administrators: frozenset[str]
    topics: Topics = field(default_factory=Topics)
    session_ms: int = SESSION_MS
    still_s_max: float = 120.0  # behind and at the same offset, until it is reported
    dead_share_max: float = 0.5  # of the last records, until intake rests
