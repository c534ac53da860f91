"""Times the parts of a turn on a pretrained base: those of one step, and the readings between steps."""

import statistics
import time
from collections.abc import Callable
from itertools import islice

import torch

from bench.real_batches import real_episodes, real_tokens
from bench.updates import SIZES, SMOLLM2, WarmEngineUpdate
from engine.base_model import BaseModel
from engine.objective import read_references, sum_of_terms
from engine.optimizer import step
from engine.packer import MicroBatch, PackingOptions, Portion, Reference, Tenant, pack
from engine.progress import CHECK_STEPS, WatchedSamples, watched_anchors
from engine.recipe import Recipe
from engine.schedule import draw
from engine.tokens import Sample
from rewards.episode import Part

CORRECTIONS, ANCHORS = 32, 43
"""Episodes of a turn; so many had the turn of the example shop's support agent that was profiled first."""

TOKEN_BUDGET = 1024
_TOKENS_MAX = 2048


def measure_parts(*, seconds_max: float) -> dict[str, float | int]:
    """CPU seconds of each part of a step (median), and of the readings beside; at least one step is taken."""
    update = WarmEngineUpdate(SMOLLM2, torch.float32, 1, torch.device("cpu"))
    turn = _Turn(update.base)
    deadline_s = time.monotonic() + seconds_max
    reading_s = _cpu_seconds(turn.read_champion)
    check_s = _cpu_seconds(turn.check)
    steps = [turn.step_parts()]
    while time.monotonic() < deadline_s:
        steps.append(turn.step_parts())
    parts = {name: statistics.median(taken[name] for taken in steps) for name in steps[0]}
    whole_s = sum(parts.values())
    checks = 1 + (turn.recipe.steps_min - turn.recipe.steps_min * 4 // 5) // CHECK_STEPS
    turn_s = turn.recipe.steps_min * whole_s + reading_s + checks * check_s
    return {
        "steps_measured": len(steps),
        "tokens_of_a_step": turn.tokens,
        "targets_of_a_step": turn.targets,
        "step_cpu_s": round(whole_s, 3),
        **{f"{name}_share": round(value / whole_s, 3) for name, value in parts.items()},
        "reading_champion_cpu_s": round(reading_s, 3),
        "progress_check_cpu_s": round(check_s, 3),
        "turn_cpu_s": round(turn_s, 1),  # of the fewest steps and checks that the recipe allows
        "readings_share_of_turn": round(1.0 - turn.recipe.steps_min * whole_s / turn_s, 3),
    }


class _Turn:
    """A turn with the default recipe: corrections and anchors, in steps as the engine draws them."""

    def __init__(self, base: BaseModel) -> None:
        self.recipe = Recipe()
        self._base, self._tenant = base, Tenant(slot=0, recipe=self.recipe)
        self._packing = PackingOptions(token_budget=TOKEN_BUDGET, mix_below_tokens=0)
        episodes = real_episodes("support", corrections=CORRECTIONS, anchors=ANCHORS)
        self._samples = [real_tokens().sample(episode, tokens_max=_TOKENS_MAX) for episode in episodes]
        self._references: list[tuple[Reference, ...]] = []
        self._draws = draw(self._samples, self.recipe, 1)
        self.tokens = self.targets = 0  # of the last step

    def read_champion(self) -> None:
        """Read the references of all samples, with hidden states of the anchors."""
        self._references = read_references(
            self._base,
            self._tenant,
            self._samples,
            token_budget=TOKEN_BUDGET,
            hidden_too=[sample.part is Part.ANCHOR for sample in self._samples],
        )

    def check(self) -> None:
        """Measure the progress as the engine does between steps."""
        anchors = [index for index, sample in enumerate(self._samples) if sample.part is Part.ANCHOR]
        watch = WatchedSamples(
            self._base,
            self._tenant,
            corrections=[sample for sample in self._samples if sample.part is Part.NEW],
            anchors=[
                (self._samples[index], self._references[index][0]) for index in watched_anchors(anchors)
            ],
            dev=list[Sample](),
            token_budget=TOKEN_BUDGET,
        )
        watch.check()

    def step_parts(self) -> dict[str, float]:
        """Take one step; CPU seconds of its parts."""
        (drawn,) = islice(self._draws, 1)
        portions = [
            Portion(
                sample=self._samples[item.index],
                references=self._references[item.index],
                coefficients=item.coefficients,
            )
            for item in drawn
        ]
        start_s = time.process_time()
        batches = pack([(self._tenant, portions)], self._packing, self._base.device)
        taken = {"packing": time.process_time() - start_s}
        self.tokens = sum(batch.tokens for batch in batches)
        self.targets = sum(len(batch.target_N) for batch in batches)
        for batch in batches:
            for name, value in self._batch_parts(batch).items():
                taken[name] = taken.get(name, 0.0) + value
        taken["optimizer"] = _cpu_seconds(lambda: _take_step(self._base))
        return taken

    def _batch_parts(self, batch: MicroBatch) -> dict[str, float]:
        """The head is cut off from the layers, so that its backward pass is timed alone."""
        times = [time.process_time()]
        hidden_WD = self._base.hidden(batch.packed)
        times.append(time.process_time())
        cut_WD = hidden_WD.detach().requires_grad_()
        sum_of_terms(self._base, batch, cut_WD)[0].backward()  # type: ignore[no-untyped-call]
        times.append(time.process_time())
        hidden_WD.backward(cut_WD.grad)  # type: ignore[no-untyped-call]
        times.append(time.process_time())
        names = ("forward", "head_and_losses", "backward")
        return {name: end - start for name, start, end in zip(names, times[:-1], times[1:], strict=True)}


def _take_step(base: BaseModel) -> None:
    step(base.arena, 0, SIZES)


def _cpu_seconds(work: Callable[[], None]) -> float:
    start_s = time.process_time()
    work()
    return time.process_time() - start_s
