"""Checks the engine's promises on this machine with this base; takes about a minute.

It compares gradients with PEFT's, checks that tenants do not affect each other and that NaN in one tenant
stays there, and that a repeated step gives the same bits.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from engine.arena import Arena
from engine.base_model import BaseModel, load_base
from engine.optimizer import StepSizes, step
from engine.packer import PackingOptions, Portion, Tenant
from engine.recipe import Recipe, Term
from engine.repeatable import repeatable
from engine.slots import fresh_weights
from engine.step import Work, add_step
from engine.tokens import Sample, TargetTokens
from rewards.episode import Part

_AGENTS = 3
_RECIPE = Recipe(rank=8, alpha=16.0)
_FORM = PackingOptions(token_budget=1 << 20, mix_below_tokens=1 << 20)
_SIZES = StepSizes(learning_rate=1e-3, beta1=0.9, beta2=0.95, weight_decay=0.1, clip_norm=1.0)
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}  # relative L2; bf16 keeps three digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result for one promise."""

    promise: str
    kept: bool
    detail: str
    seconds: float


def selftest(base: Path, *, device: str, dtype: str, threads: int) -> list[Check]:
    """Check the engine's promises on the operator's own base. Raises `BaseRefused` if it is not supported."""
    torch.set_num_threads(threads)
    model = load_base(base, device=device, dtype=dtype, rank=_RECIPE.rank, slots=_AGENTS)
    work = _work(int(model.head_VD.shape[0]))
    _load_adapters(model.arena)
    tolerance = _TOLERANCE[model.dtype]
    checks: Sequence[tuple[str, Callable[[], tuple[bool, str]]]] = (
        ("gradients equal PEFT's", lambda: _like_peft(model, work, base, tolerance)),
        ("co-tenants change only round-off", lambda: _like_alone(model, work, tolerance)),
        ("an idle tenant stays bit-identical", lambda: _idle(model, work)),
        ("a broken tenant harms nobody", lambda: _broken(model, work)),
        ("a repeat gives the same bits", lambda: _repeat(model, work)),
    )
    results = []
    for promise, check in checks:
        start = time.perf_counter()
        with repeatable():  # as every pass is computed
            kept, detail = check()
        results.append(Check(promise=promise, kept=kept, detail=detail, seconds=time.perf_counter() - start))
    return results


def _like_peft(model: BaseModel, work: Work, base: Path, tolerance: float) -> tuple[bool, str]:
    gradients = _gradients(model, work)
    slot, portion = 1, work[1][1][0]
    peft = _peft_gradients(base, model, slot, portion)
    worst = 0.0
    for name in model.arena.places:
        for letter, rows in zip("AB", model.arena.matrices(gradients, name), strict=True):
            worst = max(worst, _relative(rows[slot], peft[f"{name}.lora_{letter}"]))
    detail = f"largest relative difference of a matrix {worst:.1e}, at most {tolerance:.0e}"
    if model.frozen_linears:
        detail += f"; not adapted on a base with experts: {', '.join(sorted(model.frozen_linears))}"
    return worst <= tolerance, detail


def _like_alone(model: BaseModel, work: Work, tolerance: float) -> tuple[bool, str]:
    together = _gradients(model, work)
    worst = max(_relative(_gradients(model, [item])[slot], together[slot]) for slot, item in enumerate(work))
    return worst <= tolerance, f"largest relative difference {worst:.1e}, at most {tolerance:.0e}"


def _idle(model: BaseModel, work: Work) -> tuple[bool, str]:
    arena = model.arena
    whole = (arena.weight, arena.grad, arena.first, arena.second, arena.shadow)
    rows_of_idle = [*(rows[1] for rows in whole), arena.steps[1]]
    before = [row.clone() for row in rows_of_idle]
    add_step(model, [work[0], work[2]], _FORM)
    for slot in (0, 2):
        step(arena, slot, _SIZES)
    same = all(torch.equal(before_row, row) for before_row, row in zip(before, rows_of_idle, strict=True))
    return same, "weights, gradient, moments and step count compared after two others stepped"


def _broken(model: BaseModel, work: Work) -> tuple[bool, str]:
    healthy = _gradients(model, work)
    weights_before = model.arena.weight[1].clone()
    model.arena.weight[1].fill_(float("nan"))
    model.arena.refresh(1)
    broken = _gradients(model, work)
    finite = bool(torch.isfinite(broken[[0, 2]]).all())
    same = torch.equal(broken[[0, 2]], healthy[[0, 2]])
    broken_is_nan = not bool(torch.isfinite(broken[1]).all())
    model.arena.weight[1].copy_(weights_before)
    model.arena.refresh(1)
    return (
        finite and broken_is_nan,
        f"others {'bit-identical' if same else 'equal to round-off'} beside not-a-number",
    )


def _repeat(model: BaseModel, work: Work) -> tuple[bool, str]:
    first, second = _gradients(model, work), _gradients(model, work)
    return torch.equal(first, second), "gradients of one step computed twice"


def _gradients(model: BaseModel, work: Work) -> Tensor:
    model.arena.grad.zero_()
    add_step(model, work, _FORM)
    gradients = model.arena.grad.clone()
    model.arena.grad.zero_()
    return gradients


def _peft_gradients(base: Path, model: BaseModel, slot: int, portion: Portion) -> dict[str, Tensor]:
    own: Any = AutoModelForCausalLM.from_pretrained(base, dtype=model.dtype).to(model.device)
    targets = [target for target in _RECIPE.targets if target not in model.frozen_linears]
    config = LoraConfig(r=_RECIPE.rank, lora_alpha=int(_RECIPE.alpha), target_modules=targets)
    wrapped: Any = get_peft_model(own, config, autocast_adapter_dtype=False).eval()
    named = dict(wrapped.named_parameters())
    with torch.no_grad():
        for name in model.arena.places:
            for letter, rows in zip("AB", model.arena.matrices(model.arena.shadow, name), strict=True):
                named[f"base_model.model.{name}.lora_{letter}.default.weight"].copy_(rows[slot])
    sample = portion.sample
    ids = torch.tensor([[*sample.prompt_ids, *sample.reply.token_ids]], device=model.device)
    labels = ids.clone()
    labels[:, : len(sample.prompt_ids)] = -100
    (wrapped(input_ids=ids, labels=labels).loss * portion.coefficient(Term.SUPERVISED)).backward()
    return {
        name.removeprefix("base_model.model.").removesuffix(".default.weight"): parameter.grad.float()
        for name, parameter in named.items()
        if parameter.grad is not None
    }


def _load_adapters(arena: Arena) -> None:
    """Load a different adapter for each agent, as in the middle of training: no number is zero."""
    for slot in range(_AGENTS):
        fresh = fresh_weights(arena, list(arena.places), rank=_RECIPE.rank, seed=slot)
        chance = torch.Generator().manual_seed(100 + slot)
        arena.write(
            arena.weight,
            slot,
            {name: (a, 0.02 * torch.randn(b.shape, generator=chance)) for name, (a, b) in fresh.items()},
        )
        arena.refresh(slot)
        for moments in (arena.first[slot], arena.second[slot]):
            moments.copy_(1e-3 * torch.rand(arena.row_floats, generator=chance))
        arena.steps[slot].fill_(3)


def _work(vocabulary: int) -> Work:
    """One sequence for each agent, of different lengths."""
    chance = random.Random(0)
    work = []
    for slot in range(_AGENTS):
        prompt, reply = (
            tuple(chance.randrange(vocabulary) for _ in range(n)) for n in (24 + 9 * slot, 16 + 5 * slot)
        )
        answer = TargetTokens(token_ids=reply, weights=(1.0 / len(reply),) * len(reply))
        sample = Sample(events=("selftest#1",), part=Part.NEW, mass=1.0, prompt_ids=prompt, reply=answer)
        tenant = Tenant(slot=slot, recipe=replace(_RECIPE))
        work.append((tenant, [Portion(sample=sample, coefficients={Term.SUPERVISED: 1.0})]))
    return work


def _relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm().clamp_min(1e-30))
