"""A frozen linear that adds each tenant's low-rank product to that tenant's own rows, and to no others.

Tenants are contiguous groups of rows; there is no mask across them (0 times NaN is NaN). The backward
pass computes no gradient of the frozen weight and adds those of A and B straight into the arena.

Shapes: T rows (tokens) of a packed pass, I inputs, O outputs, R rank.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.arena import Arena


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows `start` up to `end` of a pass belong to the tenant of `slot`."""

    slot: int
    start: int
    end: int
    scale: float
    targets: frozenset[str]  # last parts of the names of the linears this tenant adapts


@dataclass(slots=True)
class Routing:
    """Who owns which rows of the pass under way; one per model, read by all of its linears."""

    groups: tuple[Group, ...] = ()
    by_target: dict[str, tuple[Group, ...]] = field(default_factory=dict)

    def route(self, groups: tuple[Group, ...]) -> None:
        """The next pass's rows belong to `groups`; rows in none of them see the bare base."""
        self.groups = groups
        self.by_target = {}

    def of(self, target: str) -> tuple[Group, ...]:
        """The groups whose tenants adapt linears of this name."""
        if target not in self.by_target:
            self.by_target[target] = tuple(group for group in self.groups if target in group.targets)
        return self.by_target[target]


class MultiLoRALinear(nn.Module):
    """Stands where an `nn.Linear` stood."""

    def __init__(self, linear: nn.Linear, name: str, arena: Arena, routing: Routing, entry: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.target = name.rsplit(".", 1)[-1]
        self.a, self.b = arena.matrices(arena.shadow, name)
        self.grad_a, self.grad_b = arena.matrices(arena.grad, name)
        self.routing = routing
        self.entry = [
            entry
        ]  # a list, so that it is no parameter; it makes the first layer's output differentiable

    def forward(self, x: Tensor) -> Tensor:
        """`x` (1 x T x I) through the base, plus each group's own adapter on its own rows."""
        groups = self.routing.of(self.target)
        if not groups:
            return F.linear(x, self.weight, self.bias)
        y: Tensor = _GroupedLoRA.apply(x, self.entry[0], self, groups)  # type: ignore[no-untyped-call]
        return y


class _GroupedLoRA(torch.autograd.Function):
    """y = xWᵀ + b, then per group y_g += s·(x_g Aᵀ)Bᵀ. Keeps x and h = xAᵀ for the way back."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, _entry: Tensor, layer: MultiLoRALinear, groups: tuple[Group, ...]
    ) -> Tensor:
        x_TI = x.reshape(-1, x.shape[-1])
        y_TO = F.linear(x_TI, layer.weight, layer.bias)
        h_TR = x_TI.new_empty(x_TI.shape[0], layer.a[0].shape[0])
        for group in groups:
            rows = slice(group.start, group.end)
            h_GR = h_TR[rows]
            torch.mm(x_TI[rows], layer.a[group.slot].t(), out=h_GR)
            y_TO[rows].addmm_(h_GR, layer.b[group.slot].t(), alpha=group.scale)
        ctx.save_for_backward(x_TI, h_TR)
        ctx.layer, ctx.groups, ctx.shape = layer, groups, x.shape
        return y_TO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        x_TI, h_TR = ctx.saved_tensors
        layer: MultiLoRALinear = ctx.layer
        grad_y_TO = grads[0].reshape(-1, grads[0].shape[-1])
        grad_x_TI = grad_y_TO @ layer.weight if ctx.needs_input_grad[0] else None
        for group in ctx.groups:
            rows = slice(group.start, group.end)
            grad_y_GO, x_GI = grad_y_TO[rows], x_TI[rows]
            grad_h_GR = torch.mm(grad_y_GO, layer.b[group.slot]).mul_(group.scale)
            # hᵀ·grad_y, turned round when it is added: its rows are long, and products like that (seen: 2.7x)
            layer.grad_b[group.slot].add_(torch.mm(h_TR[rows].t(), grad_y_GO).t(), alpha=group.scale)
            _add_product(layer.grad_a[group.slot], grad_h_GR.t(), x_GI)
            if grad_x_TI is not None:
                grad_x_TI[rows].addmm_(grad_h_GR, layer.a[group.slot])
        return (grad_x_TI.view(ctx.shape) if grad_x_TI is not None else None), None, None, None


def _add_product(into: Tensor, left: Tensor, right: Tensor) -> None:
    if into.dtype == left.dtype:
        into.addmm_(left, right)
    else:  # bf16 products, summed in fp32
        into.add_(left @ right)
