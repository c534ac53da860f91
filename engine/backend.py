"""What a learner asks of whatever trains its agents: the contract that `engine.warm_engine` keeps.

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
"""How a pass is computed, as plain JSON values. The names are the backend's own; others only keep them."""


class FormDiffers(ValueError):
    """This engine cannot repeat a pass of that form; the message names what differs."""


class Backend(Protocol):
    """Trains lessons into adapters. One thread owns it."""

    base_hash: str  # of the base its adapters are for: `engine.base_files`
    tokenizer_hash: str

    @property
    def token_budget(self) -> int:
        """Tokens of one micro-batch; fewer after a pass that ran out of memory."""

    def form(self) -> PassForm:
        """How a pass is computed now: equal lessons in an equal form give the same bytes."""

    def differs(self, form: PassForm) -> list[str]:
        """The names in which a recorded form is another than this engine can take on; empty: it can."""

    def learn(
        self,
        lessons: Sequence[Lesson],
        *,
        heartbeat: Callable[[], None] = ...,
        form: PassForm | None = None,
    ) -> list[Learned | NotLearned]:
        """Teaches all lessons and says what became of each, in their order.

        What `heartbeat` raises abandons the pass and leaves the engine as it was. `form` repeats a pass as it
        was recorded; raises `FormDiffers` where that is not possible here.
        """

    def save(self, learned: Learned, draft: Path) -> Files:
        """Writes weights, configuration and optimizer state to the draft directory; returns their hashes.

        Calling it again with the same arguments writes the same bytes.
        """

    def probes(self, version: Learned | Path, lesson: Lesson) -> tuple[Probe, ...]:
        """What a replica must say if it serves this version, for the manifest."""
