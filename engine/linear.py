"""Frozen linears that add each tenant's low-rank product to that tenant's own rows, and to no others.

Linears that read the same input (query, key and value; gate and up) are fused: one product with the base, one
with all their A. The backward pass computes no gradient of the frozen weights, and adds the gradients of A
and B directly to the arena.

Shapes: T rows (tokens) of a packed pass, I inputs, O outputs of all linears together, K linears, R rank;
N blocks of L cells (see `engine.blocks`).
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.arena import Arena
from engine.blocks import Blocks, RowOwners


class MultiLoRALinear:
    """Fused linears: they read the same input, and their outputs are columns of one tensor."""

    def __init__(
        self, linears: Mapping[str, nn.Linear], arena: Arena, routing: RowOwners, entry: Tensor
    ) -> None:
        given = list(linears.values())
        biases = [linear.bias for linear in given if linear.bias is not None]
        assert len(biases) in (0, len(given)), "linears that read the same input have biases or none has"
        self.weight_OI = _together([linear.weight for linear in given])
        self.bias_O = _together(biases) if biases else None
        ends = [0, *accumulate(linear.out_features for linear in given)]
        self.columns = [slice(start, end) for start, end in pairwise(ends)]
        self.rank = arena.rank
        names = list(linears)
        self.a, self.b = arena.stacked(arena.shadow, names)
        self.grad_a, self.grad_b = arena.stacked(arena.grad, names)
        self._targets = frozenset(name.rsplit(".", 1)[-1] for name in names)
        self._routing, self._entry = routing, entry  # the entry makes the first layer's output differentiable

    def __call__(self, x_TI: Tensor) -> Tensor:
        """The base's output for all rows, plus each tenant's adapter on that tenant's rows."""
        blocks = self._routing.of(self._targets, x_TI)
        if blocks is None:
            return F.linear(x_TI, self.weight_OI, self.bias_O)
        y_TO: Tensor = _GroupedLoRA.apply(x_TI, self._entry, self, blocks)  # type: ignore[no-untyped-call]
        return y_TO


class _GroupedLoRA(torch.autograd.Function):
    """y = xWᵀ + b, then per block y += s·(xAᵀ)Bᵀ. Keeps x and s·xAᵀ for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x_TI: Tensor, _entry: Tensor, layer: MultiLoRALinear, blocks: Blocks) -> Tensor:
        y_TO = F.linear(x_TI, layer.weight_OI, layer.bias_O)
        x_NLI = blocks.spread(x_TI)
        h_NLH = blocks.scale_(blocks.product(x_NLI, blocks.of(layer.a).transpose(1, 2)))
        for h_NLR, b, columns in zip(torch.split(h_NLH, layer.rank, -1), layer.b, layer.columns, strict=True):
            blocks.add_product(y_TO[:, columns], h_NLR, blocks.of(b))
        ctx.save_for_backward(x_NLI, h_NLH)
        ctx.layer, ctx.blocks = layer, blocks
        return y_TO

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        (grad_y_TO,) = grads
        x_NLI, h_NLH = ctx.saved_tensors
        layer: MultiLoRALinear = ctx.layer
        blocks: Blocks = ctx.blocks
        grad_x_TI = grad_y_TO @ layer.weight_OI if ctx.needs_input_grad[0] else None
        grad_y_NLO = blocks.spread_once(grad_y_TO)
        grad_h = []
        for h_NLR, b, grad_b, columns in zip(
            torch.split(h_NLH, layer.rank, -1), layer.b, layer.grad_b, layer.columns, strict=True
        ):
            blocks.sum_product(grad_b, h_NLR.transpose(-2, -1), grad_y_NLO[..., columns])
            grad_h.append(blocks.product(grad_y_NLO[..., columns], blocks.of(b).transpose(1, 2)))
        grad_h_NLH = blocks.scale_(torch.cat(grad_h, dim=-1))
        blocks.sum_product(layer.grad_a, grad_h_NLH.transpose(-2, -1), x_NLI)
        if grad_x_TI is not None:
            blocks.add_product(grad_x_TI, grad_h_NLH, blocks.of(layer.a))
        return grad_x_TI, None, None, None


def _together(weights: Sequence[Tensor]) -> Tensor:
    return weights[0].detach() if len(weights) == 1 else torch.cat([weight.detach() for weight in weights])
