"""AdamW for one adapter at a time, on its flat row: with its own learning rate, step count and clipping.

Only the row of the slot that steps is written, so idle tenants stay bit-identical. Source of the update:
Loshchilov & Hutter, Decoupled Weight Decay Regularization (ICLR 2019), as in `torch.optim.AdamW`.
"""

import math
from dataclasses import dataclass

import torch

from engine.arena import Arena

_EPSILON = 1e-8
_NORM_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSizes:
    """The numbers of one adapter's optimizer step."""

    learning_rate: float
    beta1: float
    beta2: float
    weight_decay: float
    clip_norm: float


def step(arena: Arena, slot: int, sizes: StepSizes) -> float:
    """One AdamW step of one slot. Returns the gradient's L2 norm before clipping.

    If the norm is not finite, no step is taken: weights, moments and step count stay as they are. In both
    cases the slot's gradient is zero afterwards.
    """
    grad_P = arena.grad[slot]
    norm = float(torch.linalg.vector_norm(grad_P))
    if math.isfinite(norm):
        if norm > sizes.clip_norm:
            grad_P.mul_(sizes.clip_norm / (norm + _NORM_EPSILON))
        arena.steps[slot].add_(1)
        torch._fused_adamw_(
            [arena.weight[slot]],
            [grad_P],
            [arena.first[slot]],
            [arena.second[slot]],
            [],
            [arena.steps[slot]],
            lr=sizes.learning_rate,
            beta1=sizes.beta1,
            beta2=sizes.beta2,
            weight_decay=sizes.weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )
        arena.refresh(slot)
    grad_P.zero_()
    return norm
