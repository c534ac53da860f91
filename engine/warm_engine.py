"""One base model, loaded once, that teaches many agents in the same passes.

`learn` seats each lesson in a slot; every step packs what all seated agents want to learn into micro-batches,
and each adapter steps on its own. One process, one thread owns the engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import torch

from engine.adapter_files import Files, files_of
from engine.adapter_weights import AdapterRefused, write_adapter
from engine.backend import FormDiffers, PassForm
from engine.base_files import base_hash, tokenizer_hash
from engine.base_model import BaseModel, load_base
from engine.calibration import mix_below_tokens
from engine.course import Course, tokenise
from engine.lesson import Learned, Lesson, NotLearned
from engine.measurements import Probe
from engine.memory import OutOfMemory, give_back
from engine.packer import Form, Tenant
from engine.probes import probes_of
from engine.repeatable import repeatable
from engine.slots import Slots
from engine.step import add_step
from engine.tokens import Tokens, load_tokens
from rewards.episode import Part

Mixing = Literal["auto", "never"]

_TOKEN_BUDGET_MIN = 16  # a pass that does not fit with this few tokens never will
_ARITHMETIC = 5  # raised whenever the same pass in the same form would give other bits than before
_MAY_DIFFER = frozenset({"token_budget", "mix_below_tokens"})  # between passes of one engine
_ONLY_VALUES = {"layers_checkpointed": False}  # of what older forms name and this engine does one way


class WarmEngine:
    """The engine a learner keeps running."""

    def __init__(self, base: BaseModel, tokens: Tokens, form: Form, *, hashes: tuple[str, str]) -> None:
        self._base, self._tokens, self._form = base, tokens, form
        self.base_hash, self.tokenizer_hash = hashes
        self._slots = Slots(base.arena, base_hash=self.base_hash)

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
        mix_below = mix_below_tokens(model, token_budget) if mixing == "auto" else 0
        form = Form(token_budget=token_budget, mix_below_tokens=mix_below)
        return cls(model, tokens, form, hashes=(base_hash(base), tokenizer_hash(base)))

    @property
    def token_budget(self) -> int:
        """Tokens of one micro-batch; fewer after a pass that ran out of memory."""
        return self._form.token_budget

    def form(self) -> PassForm:
        """How a pass is computed here: equal lessons in an equal form give the same bytes."""
        return {
            "token_budget": self._form.token_budget,
            "mix_below_tokens": self._form.mix_below_tokens,
            "threads": torch.get_num_threads(),
            "rank": self._base.arena.rank,
            "slots": self._base.arena.slots,
            "device": str(self._base.device),
            "dtype": str(self._base.dtype).removeprefix("torch."),
            "kernels": self._base.kernels.name,
            "torch": str(torch.__version__),
            "arithmetic": _ARITHMETIC,
        }

    def differs(self, form: PassForm) -> list[str]:
        """What of a recorded form this engine cannot take on; empty where it can repeat the pass."""
        only = {name: value for name, value in _ONLY_VALUES.items() if name in form}
        repeatable_as = {**self.form(), **only}
        return sorted(
            name
            for name in repeatable_as.keys() | form.keys()
            if name not in _MAY_DIFFER and repeatable_as.get(name) != form.get(name)
        )

    def learn(
        self,
        lessons: Sequence[Lesson],
        *,
        heartbeat: Callable[[], None] = lambda: None,
        form: PassForm | None = None,
    ) -> list[Learned | NotLearned]:
        """Teaches all lessons at once and says what became of each, in their order.

        More lessons than slots sit down as others finish. `heartbeat` is called between steps; what it
        raises abandons the pass and leaves the engine as it was. `form` repeats a pass as it was recorded;
        raises `FormDiffers` where that is not possible here. A step that does not fit into memory halves the
        token budget, of later passes too; where half is too much as well, the lessons that were not over
        are not learned, and worth repeating.
        """
        if form is not None and (names := self.differs(form)):
            raise FormDiffers(f"the pass was computed with another {', '.join(names)}")
        running = (
            self._form
            if form is None
            else Form(token_budget=int(form["token_budget"]), mix_below_tokens=int(form["mix_below_tokens"]))
        )
        waiting = list(enumerate(lessons))
        seated: dict[int, Course] = {}
        became: dict[int, Learned | NotLearned] = {}
        try:
            with repeatable():
                while waiting or seated:
                    while waiting and self._slots.free:
                        index, lesson = waiting.pop(0)
                        heartbeat()
                        course = self._seat(lesson, running)
                        if isinstance(course, Course):
                            seated[index] = course
                        else:
                            became[index] = course
                    heartbeat()
                    running = self._step(list(seated.values()), running)
                    for index in [index for index, course in seated.items() if course.over]:
                        became[index] = self._graduate(seated.pop(index))
        except OutOfMemory as fault:
            tried = running.token_budget
            self._shrink(tried // 2)
            became |= {
                index: NotLearned(agent=lesson.agent, reason=str(fault), again=tried > _TOKEN_BUDGET_MIN)
                for index, lesson in enumerate(lessons)
                if index not in became
            }
        finally:
            for course in seated.values():
                self._slots.detach(course.slot)
            give_back()
        return [became[index] for index in range(len(lessons))]

    def save(self, learned: Learned, draft: Path) -> Files:
        """Weights, configuration and optimizer state are in the draft directory, on disk; their hashes."""
        write_adapter(learned.state, draft)
        return files_of(draft)

    def probes(self, version: Learned | Path, lesson: Lesson) -> tuple[Probe, ...]:
        """What a replica must say if it serves this version, for the manifest."""
        adapter = self._slots.read(version) if isinstance(version, Path) else version.state
        samples, _ = tokenise(lesson, self._tokens, tokens_max=self._base.tokens_max)
        slot = self._slots.seat(adapter, moments_too=False)
        try:
            tenant = Tenant(slot=slot, recipe=lesson.recipe)
            return probes_of(self._base, tenant, samples, token_budget=self._form.token_budget)
        finally:
            self._slots.detach(slot)

    def _seat(self, lesson: Lesson, form: Form) -> Course | NotLearned:
        samples, refused = tokenise(lesson, self._tokens, tokens_max=self._base.tokens_max)
        if not any(sample.part is Part.NEW for sample in samples):
            return NotLearned(agent=lesson.agent, reason="nothing new to learn from", refused=tuple(refused))
        try:
            slot = self._slots.attach(lesson)
        except AdapterRefused as refusal:
            return NotLearned(agent=lesson.agent, reason=str(refusal), refused=tuple(refused))
        try:
            course = Course(lesson, slot, samples, refused, self._base, token_budget=form.token_budget)
        except BaseException:
            self._slots.detach(slot)
            raise
        if course.anything_new:
            return course
        self._slots.detach(slot)
        return NotLearned(
            agent=lesson.agent,
            reason="the champion already answers everything as corrected",
            tokens=course.tokens_read,
            refused=course.refused,
            already_known=course.already_known,
        )

    def _step(self, courses: Sequence[Course], form: Form) -> Form:
        """Every seated agent has taken one step of its own. Returns the form to go on with."""
        work = [(course.tenant, course.portions()) for course in courses]
        signals, fitting = add_step(self._base, work, form)
        if fitting != form:
            self._shrink(fitting.token_budget)
        for course in courses:
            course.take_step(signals[course.slot])
        return fitting

    def _shrink(self, token_budget: int) -> None:
        """What did not fit into memory now will not fit in later passes."""
        smaller = min(self._form.token_budget, max(_TOKEN_BUDGET_MIN, token_budget))
        self._form = replace(self._form, token_budget=smaller)

    def _graduate(self, course: Course) -> Learned | NotLearned:
        try:
            if len(course.skipped) < course.step:
                return course.finish(self._slots.copy(course.slot, course.lesson.recipe))
        finally:
            self._slots.detach(course.slot)
        return NotLearned(
            agent=course.lesson.agent,
            reason="no step had a finite gradient",
            tokens=course.tokens,
            refused=course.refused,
            skipped=tuple(course.skipped),
            already_known=course.already_known,
        )
