"""A lesson is the engine's input, and its result is the engine's output.

A lesson is one agent's turn for the engine: the parent version, the recipe and the episodes. Standard library
only, so that roles that never train can import it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.measurements import RateTry, TrainingMetrics
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

    @property
    def champion(self) -> str:
        """The name of the version that it starts from; v0 is the base."""
        return "v0" if self.parent is None else self.parent.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvents:
    """Events of an episode that could not be used, or of a step that was not taken, and the reason."""

    events: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """An adapter that finished its lesson; `WarmEngine.save` writes it to disk."""

    agent: str
    parent: Path | None
    recipe: Recipe
    metrics: TrainingMetrics
    refused: tuple[RefusedEvents, ...]  # episodes that were left out
    skipped: tuple[RefusedEvents, ...]  # optimizer steps that were not taken: their gradient was not finite
    already_known: tuple[str, ...]  # uids of events the champion already answers as corrected
    tries: tuple[RateTry, ...] = ()  # the learning rates that were tried; empty: there was one
    tokens_beside: int = 0  # of the tries that are not the result
    state: Any = field(repr=False, compare=False)  # the engine's own: weights and moments


@dataclass(frozen=True, slots=True, kw_only=True)
class NotLearned:
    """An agent that got no new adapter out of this pass; its events go back to its backlog."""

    agent: str
    reason: str
    tokens: int = 0  # of the steps it took; if it took none, of the samples that were read
    again: bool = False  # the lesson is not the cause: it may be tried again unchanged
    refused: tuple[RefusedEvents, ...] = ()
    skipped: tuple[RefusedEvents, ...] = ()
    already_known: tuple[str, ...] = ()
