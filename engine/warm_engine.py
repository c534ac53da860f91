"""One base model, loaded once, that teaches many agents in the same passes.

`learn` seats each lesson in a slot; every step packs what all seated agents want to learn into micro-batches,
and each adapter steps on its own. One process, one thread owns the engine.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import torch

from engine.adapter_files import Files, files_of
from engine.adapter_weights import AdapterRefused, write_adapter
from engine.base_files import base_hash, tokenizer_hash
from engine.base_model import BaseModel, load_base
from engine.course import Course, tokenise
from engine.lesson import Learned, Lesson, NotLearned
from engine.objective import Signals, add_gradients, read_references
from engine.packer import Tenant, pack
from engine.slots import Slots
from engine.tokens import Answer, Sample, Tokens, load_tokens
from rewards.episode import Part

Mixing = Literal["auto", "never"]

_PROBES_MAX = 6


class WarmEngine:
    """The engine a learner keeps running."""

    def __init__(
        self, base: BaseModel, tokens: Tokens, *, hashes: tuple[str, str], token_budget: int, mixing: Mixing
    ) -> None:
        self._base, self._tokens = base, tokens
        self.base_hash, self.tokenizer_hash = hashes
        self._slots = Slots(base.arena, base_hash=self.base_hash)
        self._token_budget, self._mixing = token_budget, mixing

    @classmethod
    def load(
        cls,
        base: Path,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        slots: int,
        rank: int,
        threads: int,
        token_budget: int,
        mixing: Mixing = "auto",
    ) -> Self:
        """The base of a local directory, warm; raises `BaseRefused` naming what is unsupported."""
        torch.set_num_threads(threads)
        model = load_base(base, device=device, dtype=dtype, rank=rank, slots=slots)
        tokens = load_tokens(base, vocabulary=model.head_VD.shape[0])
        hashes = (base_hash(base), tokenizer_hash(base))
        return cls(model, tokens, hashes=hashes, token_budget=token_budget, mixing=mixing)

    def form(self) -> dict[str, Any]:
        """How a pass is computed here: with the same lessons and form it gives the same bytes."""
        return {
            "token_budget": self._token_budget,
            "threads": torch.get_num_threads(),
            "mixing": self._mixing,
            "rank": self._base.arena.rank,
            "slots": self._base.arena.slots,
            "device": str(self._base.device),
            "dtype": str(self._base.dtype).removeprefix("torch."),
            "torch": str(torch.__version__),
        }

    def learn(
        self, lessons: Sequence[Lesson], *, heartbeat: Callable[[], None] = lambda: None
    ) -> list[Learned | NotLearned]:
        """Teaches all lessons at once and says what became of each, in their order.

        More lessons than slots sit down as others finish. `heartbeat` is called between steps; what it
        raises abandons the pass and leaves the engine as it was.
        """
        waiting = list(enumerate(lessons))
        seated: dict[int, Course] = {}
        became: dict[int, Learned | NotLearned] = {}
        try:
            with _repeatable():
                while waiting or seated:
                    while waiting and self._slots.free:
                        index, lesson = waiting.pop(0)
                        heartbeat()
                        course = self._seat(lesson)
                        if isinstance(course, Course):
                            seated[index] = course
                        else:
                            became[index] = course
                    heartbeat()
                    self._step(list(seated.values()))
                    for index in [index for index, course in seated.items() if course.over]:
                        became[index] = self._graduate(seated.pop(index))
        finally:
            for course in seated.values():
                self._slots.detach(course.slot)
        return [became[index] for index in range(len(lessons))]

    def save(self, learned: Learned, draft: Path) -> Files:
        """Weights, configuration and optimizer state are in the draft directory, on disk; their hashes."""
        write_adapter(learned.state, draft)
        return files_of(draft)

    def probes(self, version: Learned | Path, lesson: Lesson) -> list[dict[str, Any]]:
        """A few of the lesson's conversations as token ids, with log-probs (nats) serving must match.

        `logprobs` are the adapter's and `base_logprobs` the bare base's, from the second token on.
        """
        adapter = self._slots.read(version) if isinstance(version, Path) else version.state
        samples, _ = tokenise(lesson, self._tokens, tokens_max=self._base.tokens_max)
        probes = [_as_probe(sample) for sample in _spread(samples, _PROBES_MAX)]
        slot = self._slots.seat(adapter, moments_too=False)
        try:
            taught, bare = (
                self._logprobs(Tenant(slot=at, recipe=lesson.recipe), probes) for at in (slot, None)
            )
        finally:
            self._slots.detach(slot)
        return [
            {
                "token_ids": [*one.prompt_ids, *one.reply.token_ids],
                "logprobs": with_it,
                "base_logprobs": without,
            }
            for one, with_it, without in zip(probes, taught, bare, strict=True)
        ]

    def _logprobs(self, tenant: Tenant, samples: Sequence[Sample]) -> list[list[float]]:
        read = read_references(
            self._base, tenant, samples, token_budget=self._token_budget, hidden_too=[False] * len(samples)
        )
        return [found[0].logprob_N.tolist() for found in read]

    def _seat(self, lesson: Lesson) -> Course | NotLearned:
        samples, refused = tokenise(lesson, self._tokens, tokens_max=self._base.tokens_max)
        if not any(sample.part is Part.NEW for sample in samples):
            return NotLearned(agent=lesson.agent, reason="nothing new to learn from", refused=tuple(refused))
        try:
            slot = self._slots.attach(lesson)
        except AdapterRefused as refusal:
            return NotLearned(agent=lesson.agent, reason=str(refusal), refused=tuple(refused))
        course = Course(lesson, slot, samples, refused, self._base, token_budget=self._token_budget)
        if course.anything_new:
            return course
        self._slots.detach(slot)
        return NotLearned(
            agent=lesson.agent,
            reason="the champion already answers everything as corrected",
            refused=course.refused,
            already_known=course.already_known,
        )

    def _step(self, courses: Sequence[Course]) -> None:
        """Every seated agent has taken one step of its own."""
        batches = pack(
            [(course.tenant, course.portions()) for course in courses],
            token_budget=self._token_budget,
            mixed=self._mixing != "never",
            share_prefixes=True,
            device=self._base.device,
        )
        signals = {course.slot: Signals() for course in courses}
        for batch in batches:
            for slot, heard in add_gradients(self._base, batch).items():
                signals[slot].join(heard)
        for course in courses:
            course.take_step(signals[course.slot])

    def _graduate(self, course: Course) -> Learned | NotLearned:
        adapter = self._slots.copy(course.slot, course.lesson.recipe)
        self._slots.detach(course.slot)
        if len(course.skipped) < course.step:
            return course.finish(adapter)
        return NotLearned(
            agent=course.lesson.agent,
            reason="no step had a finite gradient",
            refused=course.refused,
            skipped=tuple(course.skipped),
            already_known=course.already_known,
        )


def _spread(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """At most `count` samples from all over the lesson, corrections and anchors alike."""
    return samples[:: max(1, -(-len(samples) // count))]


def _as_probe(sample: Sample) -> Sample:
    """The whole conversation as a target, but for its first token, which nothing predicts."""
    token_ids = (*sample.prompt_ids, *sample.reply.token_ids)
    share = 1.0 / (len(token_ids) - 1)
    answer = Answer(token_ids=token_ids[1:], weights=(share,) * (len(token_ids) - 1))
    return replace(sample, prompt_ids=token_ids[:1], reply=answer, rejected=None)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Within, torch takes the algorithms that give the same bits each time."""
    memory: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # it only costs time: nothing reads unwritten memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filled
