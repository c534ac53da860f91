"""From how many tokens a step on an agent is better off in micro-batches of its own: measured, in seconds.

Small products waste the machine, large ones do not gain by company. The answer is part of the form that a
pass is recorded with, so that a repeat does not measure again.
"""

import time
from dataclasses import replace

import torch

from engine.base_model import BaseModel
from engine.packer import Form, Portion, Tenant
from engine.recipe import Recipe, Term
from engine.step import add_step
from engine.tokens import Sample, TargetTokens
from rewards.episode import Part

_SEQUENCE_TOKENS = 32
_TOKENS = (32, 64, 128, 256, 512)
_REPETITIONS = 2
_SECONDS_MAX = 8.0  # a base this slow has large products from the smallest step on
_GAIN_MIN = 1.05  # alone must be this much faster: company is the default


def mix_below_tokens(base: BaseModel, token_budget: int) -> int:
    """The size of a step from which an agent is alone; the whole budget where company never costs anything.

    Nobody may sit in the arena yet; it is empty again afterwards.
    """
    together = Form(token_budget=token_budget, mix_below_tokens=token_budget)
    alone = replace(together, mix_below_tokens=0)
    if base.arena.slots < 2:
        return 0
    start = time.perf_counter()
    for tokens in _TOKENS:
        if 2 * tokens > token_budget or time.perf_counter() - start > _SECONDS_MAX:
            break
        if _seconds(base, tokens, together) > _GAIN_MIN * _seconds(base, tokens, alone):
            return tokens
    return token_budget


def settle(device: torch.device) -> None:
    """What the device was asked for is done; without this a GPU is timed while it still works."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(base: BaseModel, tokens: int, form: Form) -> float:
    """The best of a few steps of two agents with `tokens` each."""
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
        add_step(base, work, form)
        settle(base.device)
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
