"""What goes into the engine and what comes out: a lesson, and what became of it.

A lesson is one agent's turn as the engine sees it: where to start from, how, and from which episodes.
Standard library only, so that the roles that never train can name these.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.measurements import TrainingMetrics
from engine.recipe import Recipe
from rewards.episode import Episode


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Everything that decides one agent's next adapter."""

    agent: str
    parent: Path | None  # the champion's version directory; None starts a fresh adapter from `seed`
    recipe: Recipe
    seed: int
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvents:
    """Events that could not be used, or a step that was not taken, and why."""

    events: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """An adapter that finished its lesson; `WarmEngine.save` writes it down."""

    agent: str
    parent: Path | None
    recipe: Recipe
    metrics: TrainingMetrics
    refused: tuple[RefusedEvents, ...]  # episodes that were left out
    skipped: tuple[RefusedEvents, ...]  # optimizer steps that were not taken: their gradient was not finite
    already_known: tuple[str, ...]  # uids of events the champion already answers as corrected
    state: Any = field(repr=False, compare=False)  # the engine's own: weights and moments


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLearned:
    """An agent that got no new adapter out of this pass; its events go back to its backlog."""

    agent: str
    reason: str
    tokens: int = 0  # of the steps it took; where it took none, of what was read to find that out
    again: bool = False  # nothing about the lesson was at fault: it is worth repeating as it is
    refused: tuple[RefusedEvents, ...] = ()
    skipped: tuple[RefusedEvents, ...] = ()
    already_known: tuple[str, ...] = ()
