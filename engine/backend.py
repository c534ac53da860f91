"""The interface between learner and engine; `engine.warm_engine` implements it.

Standard library only. Another backend is a class with these members and a branch in
`daemon.learning.engine_loading`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from engine.adapter_files import Files
from engine.lesson import Learned, Lesson, NotLearned
from engine.measurements import Probe

PassForm = Mapping[str, str | int | bool]
"""How a pass is computed, as plain JSON values. Only the backend reads the names; others store them."""


class FormDiffers(ValueError):
    """This engine cannot repeat a pass of this form; the message names what differs."""


class Backend(Protocol):
    """Trains lessons into adapters. One thread owns it."""

    base_hash: str  # of the base its adapters are for: `engine.base_files`
    tokenizer_hash: str

    @property
    def token_budget(self) -> int:
        """Tokens of one micro-batch; fewer after a pass that ran out of memory."""

    def form(self) -> PassForm:
        """How this engine computes a pass now: equal lessons in an equal form give the same bytes."""

    def differs(self, form: PassForm) -> list[str]:
        """Names of the values in a recorded form that this engine cannot adopt; empty if it can repeat it."""

    def learn(
        self,
        lessons: Sequence[Lesson],
        *,
        heartbeat: Callable[[], None] = ...,
        form: PassForm | None = None,
    ) -> list[Learned | NotLearned]:
        """Train all lessons; return the result of each, in their order.

        If `heartbeat` raises, the pass is abandoned and the engine is as before. `form` repeats a pass as it
        was recorded; raises `FormDiffers` if this engine cannot.
        """

    def save(self, learned: Learned, draft: Path) -> Files:
        """Write weights, configuration and optimizer state to the draft directory; return their hashes.

        Idempotent: the same arguments write the same bytes.
        """

    def probes(self, version: Learned | Path, lesson: Lesson) -> tuple[Probe, ...]:
        """The answers that a replica must give if it serves this version, for the manifest."""
