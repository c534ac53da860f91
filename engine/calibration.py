"""Measures from how many tokens a step an agent trains faster in micro-batches of its own.

Small matrix products use the machine badly, so small agents share micro-batches; large products gain nothing
from sharing. The result is part of the recorded form of a pass, so that a repeat does not measure again.
"""

import time
from dataclasses import replace

import torch

from engine.base_model import BaseModel
from engine.packer import PackingOptions, Portion, Tenant
from engine.recipe import Recipe, Term
from engine.step import add_step
from engine.tokens import Sample, TargetTokens
from rewards.episode import Part

_SEQUENCE_TOKENS = 32
_TOKENS = (32, 64, 128, 256, 512)
_REPETITIONS = 2
_SECONDS_MAX = 8.0  # a base this slow has large products from the smallest step on
_GAIN_MIN = 1.05  # own micro-batches must be faster by this factor; sharing is the default


def mix_below_tokens(base: BaseModel, token_budget: int) -> int:
    """The tokens of a step from which an agent gets micro-batches of its own.

    It is the whole budget if sharing never costs time.

    Call it while the arena is empty; it is empty again afterwards.
    """
    mixed = PackingOptions(token_budget=token_budget, mix_below_tokens=token_budget)
    separate = replace(mixed, mix_below_tokens=0)
    if base.arena.slots < 2:
        return 0
    start = time.perf_counter()
    for tokens in _TOKENS:
        if 2 * tokens > token_budget or time.perf_counter() - start > _SECONDS_MAX:
            break
        if _seconds(base, tokens, mixed) > _GAIN_MIN * _seconds(base, tokens, separate):
            return tokens
    return token_budget


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished; otherwise a time on a GPU leaves out work that still runs."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(base: BaseModel, tokens: int, packing: PackingOptions) -> float:
    """The shortest time of a few steps of two agents with `tokens` each."""
    recipe = Recipe(rank=base.arena.rank)
    work = [
        (
            Tenant(slot=slot, recipe=recipe),
            [Portion(sample=_sample(), coefficients={Term.SUPERVISED: 1.0})] * (tokens // _SEQUENCE_TOKENS),
        )
        for slot in (0, 1)
    ]
    best = float("inf")
    for _ in range(_REPETITIONS + 1):  # the first warms up
        start = time.perf_counter()
        add_step(base, work, packing)
        synchronize(base.device)
        best = min(best, time.perf_counter() - start)
        for slot in (0, 1):
            base.arena.clear(slot)
    return best


def _sample() -> Sample:
    half = _SEQUENCE_TOKENS // 2
    answer = TargetTokens(token_ids=tuple(range(half)), weights=(1.0 / half,) * half)
    return Sample(
        events=("calibration",),
        part=Part.NEW,
        mass=1.0,
        prompt_ids=tuple(range(_SEQUENCE_TOKENS - half)),
        reply=answer,
    )
