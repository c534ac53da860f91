"""The engine of a learner: one base model, loaded once, that trains many agents in the same passes.

`learn` gives each lesson a slot; every step packs the samples of all slots into micro-batches, and each
adapter takes its own optimizer step. One thread of one process owns the engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

import torch

from engine.adapter_files import Files, files_of
from engine.adapter_weights import AdapterRefused, write_adapter
from engine.backend import FormDiffers, PassForm
from engine.base_files import base_hash, tokenizer_hash
from engine.base_model import BaseModel, load_base
from engine.calibration import mix_below_tokens
from engine.lesson import Learned, Lesson, NotLearned
from engine.lesson_run import LessonRun, tokenise
from engine.measurements import Probe
from engine.memory import OutOfMemory, keep_freed_memory, release_memory
from engine.packer import PackingOptions, Tenant
from engine.probes import probes_of
from engine.progress import loss_on
from engine.repeatable import repeatable
from engine.slots import Slots
from engine.step import add_step
from engine.tokens import Tokens, load_tokens
from engine.tries import TriedLesson, TriedResult, learn_in_tries
from rewards.episode import Episode, Part

Mixing = Literal["auto", "never"]

_TOKEN_BUDGET_MIN = 16  # a pass that does not fit with this few tokens never will
_ARITHMETIC = 8  # raise it whenever the same pass in the same form would give other bits than before
_MAY_DIFFER = frozenset({"token_budget", "mix_below_tokens"})  # between passes of one engine
_RECORDED_LATER = frozenset({"transformers", "tokenizers", "tokenizer"})  # older forms do not have these
_FIXED_VALUES = {
    "layers_checkpointed": False
}  # names in older forms, for which this engine has one value only


class WarmEngine:
    """Trains lessons into adapters; implements `engine.backend.Backend`."""

    def __init__(
        self, base: BaseModel, tokens: Tokens, packing: PackingOptions, *, hashes: tuple[str, str]
    ) -> None:
        self._base, self._tokens, self._packing = base, tokens, packing
        self.base_hash, self.tokenizer_hash = hashes
        self.frozen_linears = (
            base.frozen_linears
        )  # recipes may name them, but no adapter of this base has them
        self._slots = Slots(base.arena, base_hash=self.base_hash, frozen_linears=base.frozen_linears)

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
        """An engine with the base of a local directory. Raises `BaseRefused`."""
        torch.set_num_threads(threads)
        keep_freed_memory()
        model = load_base(base, device=device, dtype=dtype, rank=rank, slots=slots)
        tokens = load_tokens(base, vocabulary=model.head_VD.shape[0])
        mix_below = mix_below_tokens(model, token_budget) if mixing == "auto" else 0
        packing = PackingOptions(token_budget=token_budget, mix_below_tokens=mix_below)
        return cls(model, tokens, packing, hashes=(base_hash(base), tokenizer_hash(base)))

    @property
    def token_budget(self) -> int:
        """Tokens of one micro-batch; fewer after a pass that ran out of memory."""
        return self._packing.token_budget

    def form(self) -> PassForm:
        """How this engine computes a pass now: equal lessons in an equal form give the same bytes."""
        return {
            "token_budget": self._packing.token_budget,
            "mix_below_tokens": self._packing.mix_below_tokens,
            "threads": torch.get_num_threads(),
            "rank": self._base.arena.rank,
            "slots": self._base.arena.slots,
            "device": str(self._base.device),
            "dtype": str(self._base.dtype).removeprefix("torch."),
            "kernels": self._base.kernels.name,
            "torch": str(torch.__version__),
            "transformers": version("transformers"),
            "tokenizers": version("tokenizers"),
            "tokenizer": self.tokenizer_hash,  # of its files, the chat template among them
            "arithmetic": _ARITHMETIC,
        }

    def differs(self, form: PassForm) -> list[str]:
        """Names of the values in a recorded form that this engine cannot adopt; empty if it can repeat it."""
        fixed = {name: value for name, value in _FIXED_VALUES.items() if name in form}
        repeatable_as = {**self.form(), **fixed}
        return sorted(
            name
            for name in repeatable_as.keys() | form.keys()
            if name not in _MAY_DIFFER
            and not (name in _RECORDED_LATER and name not in form)
            and repeatable_as.get(name) != form.get(name)
        )

    def learn(
        self,
        lessons: Sequence[Lesson],
        *,
        heartbeat: Callable[[], None] = lambda: None,
        form: PassForm | None = None,
    ) -> list[Learned | NotLearned]:
        """Train all lessons together; return the result of each, in their order.

        If there are more lessons than slots, the others start as slots become free. `heartbeat` is called
        between steps; if it raises, the pass is abandoned and the engine is as before. `form` repeats a pass
        as it was recorded; raises `FormDiffers` if this engine cannot. A step that does not fit into memory
        halves the token budget, also for later passes. If half does not fit either, each unfinished lesson
        is trained alone; one that does not fit even so is not learned and may be tried again. A lesson may
        be trained at several learning rates (`engine.tries`).
        """
        if form is not None and (names := self.differs(form)):
            raise FormDiffers(f"the pass was computed with another {', '.join(names)}")
        packing = (
            self._packing
            if form is None
            else PackingOptions(
                token_budget=int(form["token_budget"]), mix_below_tokens=int(form["mix_below_tokens"])
            )
        )
        return learn_in_tries(
            lessons,
            lambda tried: self._train(tried, packing, heartbeat),
            width=self._base.width,
        )

    def _train(
        self, tried: Sequence[TriedLesson], packing: PackingOptions, heartbeat: Callable[[], None]
    ) -> list[TriedResult]:
        """Train lessons together; return the result of each, in their order."""
        waiting = list(enumerate(tried))
        runs: dict[int, LessonRun] = {}
        results: dict[int, TriedResult] = {}
        shortage = ""
        try:
            with repeatable():
                while waiting or runs:
                    while waiting and self._slots.free:
                        index, next_lesson = waiting.pop(0)
                        heartbeat()
                        run = self._start(next_lesson.lesson, packing)
                        if isinstance(run, LessonRun):
                            runs[index] = run
                        else:
                            results[index] = TriedResult(result=run)
                    heartbeat()
                    packing = self._step(list(runs.values()), packing)
                    for index in [index for index, run in runs.items() if run.over]:
                        results[index] = self._finish(runs.pop(index), tried[index].judges, packing)
        except OutOfMemory as fault:
            shortage = str(fault)
        finally:
            for run in runs.values():
                self._slots.detach(run.slot)
            release_memory()
        if unfinished := [index for index in range(len(tried)) if index not in results]:
            may_fit = packing.token_budget > _TOKEN_BUDGET_MIN
            packing = replace(packing, token_budget=max(_TOKEN_BUDGET_MIN, packing.token_budget // 2))
            self._shrink(packing.token_budget)
            if len(unfinished) == 1:
                agent = tried[unfinished[0]].lesson.agent
                failed = NotLearned(agent=agent, reason=shortage, again=may_fit)
                results[unfinished[0]] = TriedResult(result=failed)
            else:  # one long text must not cost the others their lesson
                for index in unfinished:
                    [results[index]] = self._train([tried[index]], packing, heartbeat)
        return [results[index] for index in range(len(tried))]

    def save(self, learned: Learned, draft: Path) -> Files:
        """Write weights, configuration and optimizer state to the draft directory; return their hashes."""
        write_adapter(learned.state, draft)
        return files_of(draft)

    def probes(self, version: Learned | Path, lesson: Lesson) -> tuple[Probe, ...]:
        """The answers that a replica must give if it serves this version, for the manifest."""
        adapter = self._slots.read(version) if isinstance(version, Path) else version.state
        samples, _ = tokenise(lesson, self._tokens, tokens_max=self._base.tokens_max)
        slot = self._slots.load(adapter, moments_too=False)
        try:
            tenant = Tenant(slot=slot, recipe=lesson.recipe)
            return probes_of(self._base, tenant, samples, token_budget=self._packing.token_budget)
        finally:
            self._slots.detach(slot)

    def _start(self, lesson: Lesson, packing: PackingOptions) -> LessonRun | NotLearned:
        samples, refused = tokenise(lesson, self._tokens, tokens_max=self._base.tokens_max)
        if not any(sample.part is Part.NEW for sample in samples):
            return NotLearned(agent=lesson.agent, reason="nothing new to learn from", refused=tuple(refused))
        try:
            slot = self._slots.attach(lesson)
        except AdapterRefused as refusal:
            return NotLearned(agent=lesson.agent, reason=str(refusal), refused=tuple(refused))
        try:
            run = LessonRun(lesson, slot, samples, refused, self._base, token_budget=packing.token_budget)
        except BaseException:
            self._slots.detach(slot)
            raise
        if run.anything_new:
            return run
        self._slots.detach(slot)
        return NotLearned(
            agent=lesson.agent,
            reason="the champion already answers everything as corrected",
            tokens=run.tokens_read,
            refused=run.refused,
            already_known=run.already_known,
        )

    def _step(self, runs: Sequence[LessonRun], packing: PackingOptions) -> PackingOptions:
        """Take one step of every run. Returns the packing to continue with."""
        work = [(run.tenant, run.portions()) for run in runs]
        signals, fitting = add_step(self._base, work, packing)
        if fitting != packing:
            self._shrink(fitting.token_budget)
        for run in runs:
            run.take_step(signals[run.slot])
        return fitting

    def _shrink(self, token_budget: int) -> None:
        """Lower the token budget of later passes, which would not fit into memory either."""
        smaller = min(self._packing.token_budget, max(_TOKEN_BUDGET_MIN, token_budget))
        self._packing = replace(self._packing, token_budget=smaller)

    def _finish(self, run: LessonRun, judges: Sequence[Episode], packing: PackingOptions) -> TriedResult:
        """The result of a lesson that is over, and its loss on the judges. Its slot is free afterwards."""
        try:
            if len(run.skipped) < run.step:
                learned = run.finish(self._slots.copy(run.slot, run.lesson.recipe))
                judged = replace(run.lesson, episodes=tuple(judges))
                samples, _ = tokenise(judged, self._tokens, tokens_max=self._base.tokens_max)
                loss_nats = loss_on(self._base, run.tenant, samples, token_budget=packing.token_budget)
                return TriedResult(result=learned, loss_nats=loss_nats)
        finally:
            self._slots.detach(run.slot)
        return TriedResult(
            result=NotLearned(
                agent=run.lesson.agent,
                reason="no step had a finite gradient",
                tokens=run.tokens,
                refused=run.refused,
                skipped=tuple(run.skipped),
                already_known=run.already_known,
            )
        )
