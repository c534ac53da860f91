"""Computes the feed-forward part of a mixture-of-experts layer, with the base's own frozen weights.

A router chooses K of E experts for each row (Shazeer et al., 2017; Qwen3's form: Yang et al., 2025). Rows are
sorted by expert, so that each expert multiplies its rows in one product. No adapter changes these weights;
gradients go through experts and router to the rows. Nothing is added in an order that could change, so a
repeat gives the same bits.

Shapes: T rows, D hidden size, E experts, K experts of a row, R = T·K rows sorted by expert, I inputs and O
outputs of an expert's product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.pointwise import gate

ExpertProduct = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Sorted rows (R x I), a matrix for each expert (E x I x O), the end of each expert's rows (E) -> R x O."""


def expert_by_expert(rows_RI: Tensor, matrices_EIO: Tensor, ends_E: Tensor) -> Tensor:
    """One product for each expert that has rows."""
    product_RO = rows_RI.new_empty(len(rows_RI), matrices_EIO.shape[2])
    start = 0
    for matrix_IO, end in zip(matrices_EIO, ends_E.tolist(), strict=True):
        if end > start:
            torch.mm(rows_RI[start:end], matrix_IO, out=product_RO[start:end])
        start = end
    return product_RO


def experts_in_one_launch(rows_RI: Tensor, matrices_EIO: Tensor, ends_E: Tensor) -> Tensor:
    """The products of all experts in one launch, which does not wait for the GPU to know where rows end."""
    return F.grouped_mm(rows_RI, matrices_EIO, offs=ends_E)


class Experts:
    """The weighted sum of the outputs of each row's experts."""

    def __init__(self, mlp: nn.Module, product: ExpertProduct) -> None:
        router: Any = mlp.gate
        experts: Any = mlp.experts
        self._router_ED: Tensor = router.weight.detach()
        self._per_row, self._sums_to_one = int(router.top_k), bool(router.norm_topk_prob)
        self._gate_up_EOI: Tensor = experts.gate_up_proj.detach()
        self._down_EOI: Tensor = experts.down_proj.detach()
        self._product = product

    def __call__(self, x_TD: Tensor) -> Tensor:
        """The output for each row."""
        weight_TK, expert_TK = self._route(x_TD)
        order = _order_by_expert(expert_TK, experts=len(self._router_ED))
        rows_RD: Tensor = _ToExperts.apply(x_TD, order)  # type: ignore[no-untyped-call]
        activated = gate(self._of_each_expert(rows_RD, self._gate_up_EOI, order))
        # A weight of the output is one of the input too, and the input is the narrower one.
        activated = activated * weight_TK.flatten().index_select(0, order.choice_R)[:, None]
        out_RD = self._of_each_expert(activated, self._down_EOI, order)
        y_TD: Tensor = _FromExperts.apply(out_RD, order)  # type: ignore[no-untyped-call]
        return y_TD

    def _route(self, x_TD: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and numbers of each row's experts."""
        share_TE = F.linear(x_TD, self._router_ED).softmax(-1, dtype=torch.float32)
        expert_TK = share_TE.detach().topk(self._per_row, dim=-1).indices
        weight_TK = share_TE.gather(1, expert_TK)
        if self._sums_to_one:
            weight_TK = weight_TK / weight_TK.sum(-1, keepdim=True)
        return weight_TK.to(x_TD.dtype), expert_TK

    def _of_each_expert(self, rows: Tensor, weight_EOI: Tensor, order: "_Order") -> Tensor:
        y: Tensor = _ExpertLinear.apply(rows, weight_EOI, order.ends_E, self._product)  # type: ignore[no-untyped-call]
        return y


class FrozenMLP:
    """The feed-forward part of a layer without experts, in a base whose other layers have some."""

    def __init__(self, mlp: nn.Module) -> None:
        given: Any = mlp
        self._gate_up_OI = torch.cat([given.gate_proj.weight.detach(), given.up_proj.weight.detach()])
        self._down_OI: Tensor = given.down_proj.weight.detach()

    def __call__(self, x_TD: Tensor) -> Tensor:
        """The output for each row."""
        return F.linear(gate(F.linear(x_TD, self._gate_up_OI)), self._down_OI)


@dataclass(frozen=True, slots=True)
class _Order:
    """Where rows lie when they are sorted by expert. A choice is one of a row's K experts: R in all."""

    per_row: int  # K
    choice_R: Tensor  # of each sorted row; the choices of row t are t·K up to t·K + K
    row_R: Tensor  # of each sorted row
    place_R: Tensor  # of each choice among the sorted rows
    ends_E: Tensor  # int32


def _order_by_expert(expert_TK: Tensor, *, experts: int) -> _Order:
    expert_R, choice_R = expert_TK.flatten().sort(stable=True)
    numbers_E = torch.arange(experts, device=expert_TK.device)
    return _Order(
        per_row=expert_TK.shape[1],
        choice_R=choice_R,
        row_R=choice_R // expert_TK.shape[1],
        place_R=choice_R.argsort(),
        ends_E=torch.searchsorted(expert_R, numbers_E, right=True, out_int32=True),
    )


def _summed(sorted_RD: Tensor, order: _Order) -> Tensor:
    """The sum over each row's choices (T x D). Adding into the rows instead would have no fixed order."""
    choices_RD = sorted_RD.index_select(0, order.place_R)
    return choices_RD.view(-1, order.per_row, choices_RD.shape[-1]).sum(1)


class _ToExperts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, order: _Order) -> Tensor:
        ctx.order = order
        return x_TD.index_select(0, order.row_R)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _summed(grads[0], ctx.order), None


class _FromExperts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, out_RD: Tensor, order: _Order) -> Tensor:
        ctx.order = order
        return _summed(out_RD, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0].index_select(0, ctx.order.row_R), None


class _ExpertLinear(torch.autograd.Function):
    """Each expert's rows times its own matrix. The matrices are frozen, so the rows need not be kept."""

    @staticmethod
    def forward(
        ctx: Any, rows_RI: Tensor, weight_EOI: Tensor, ends_E: Tensor, product: ExpertProduct
    ) -> Tensor:
        ctx.weight_EOI, ctx.ends_E, ctx.product = weight_EOI, ends_E, product
        return product(rows_RI, weight_EOI.transpose(1, 2), ends_E)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.product(grads[0].contiguous(), ctx.weight_EOI, ctx.ends_E), None, None, None
