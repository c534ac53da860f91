"""Holds adapters while they train: one flat fp32 row per slot for weights, gradients and moments.

A layer's A and B are views of those rows, so loading an adapter is a row copy and an optimizer step is one
fused call. An adapter of a lower rank, or with fewer targets, leaves the rest of its row exactly zero: zero
times anything finite stays zero through forward, backward and optimizer.

Shapes: S slots, R rank of the arena, I inputs, O outputs of a linear, K fused linears (they read the same
input), P floats in a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_ALIGNED_FLOATS = (
    32  # 64 bytes even in bf16: a matrix is equally aligned in every slot, so the same bits come out
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Position of one linear's A (R x I) and Bᵀ (R x O) in a row."""

    inputs: int
    outputs: int
    a_start: int
    b_start: int


class Arena:
    """`slots` rows; `weight`, `grad`, `first` and `second` moments in fp32, `shadow` in the base's dtype."""

    def __init__(
        self,
        fused_linears: Iterable[
            Mapping[str, tuple[int, int]]
        ],  # linears with the same input: name -> (inputs, outputs)
        *,
        rank: int,
        slots: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        assert min(rank, slots) > 0
        self.rank, self.slots = rank, slots
        self.places: dict[str, Place] = {}
        end = 0
        for fused in fused_linears:
            a_starts = {}
            for name, (inputs, _) in fused.items():  # consecutive, so that one product computes them all
                a_starts[name], end = end, end + rank * inputs
            for name, (inputs, outputs) in fused.items():
                b_start = _aligned(end)
                self.places[name] = Place(
                    inputs=inputs, outputs=outputs, a_start=a_starts[name], b_start=b_start
                )
                end = b_start + rank * outputs
            end = _aligned(end)
        self.row_floats = end
        self.weight, self.grad, self.first, self.second = (
            torch.zeros(slots, end, device=device) for _ in range(4)
        )
        mirrored = dtype != torch.float32
        self.shadow = torch.zeros(slots, end, device=device, dtype=dtype) if mirrored else self.weight
        self.steps = [torch.zeros((), device=device) for _ in range(slots)]

    def stacked(self, rows_SP: Tensor, names: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
        """Views of fused linears: all their A in one (S x K·R x I), and each linear's Bᵀ (S x R x O)."""
        slots, rank = len(rows_SP), self.rank
        places = [self.places[name] for name in names]
        inputs, start = places[0].inputs, places[0].a_start
        height = len(places) * rank
        a = rows_SP[:, start : start + height * inputs].view(slots, height, inputs)
        b = [
            rows_SP[:, place.b_start : place.b_start + rank * place.outputs].view(slots, rank, place.outputs)
            for place in places
        ]
        return a, b

    def matrices(self, rows_SP: Tensor, name: str) -> tuple[list[Tensor], list[Tensor]]:
        """Views of one linear's A (R x I) and B (O x R) in each slot's row."""
        a, (b,) = self.stacked(rows_SP, [name])
        return list(a), [transposed.t() for transposed in b]

    def write(self, rows_SP: Tensor, slot: int, matrices: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Write `matrices` (name -> A, B of any rank that fits) to the slot's row, and zeros elsewhere."""
        row = rows_SP[slot : slot + 1]
        row.zero_()
        for name, (a, b) in matrices.items():
            rank = a.shape[0]
            assert rank <= self.rank, "Slots.load refuses these"
            (into_a,), (into_b,) = self.matrices(row, name)
            into_a[:rank].copy_(a)
            into_b[:, :rank].copy_(b)

    def read(
        self, rows_SP: Tensor, slot: int, *, rank: int, names: Iterable[str]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Copies of one slot's matrices on the CPU, cut to the adapter's own rank and targets."""
        row = rows_SP[slot : slot + 1]
        matrices = {}
        for name in names:
            (a,), (b,) = self.matrices(row, name)
            matrices[name] = (
                a[:rank].cpu().clone(),
                b[:, :rank].cpu().clone(memory_format=torch.contiguous_format),
            )
        return matrices

    def refresh(self, slot: int) -> None:
        """Copy the slot's weights to the shadow that the layers compute with."""
        if self.shadow is not self.weight:
            self.shadow[slot].copy_(self.weight[slot])

    def clear(self, slot: int) -> None:
        """Set everything in the slot to zero."""
        for rows in (self.weight, self.grad, self.first, self.second):
            rows[slot].zero_()
        self.steps[slot].zero_()
        self.refresh(slot)


def _aligned(floats: int) -> int:
    return -(-floats // _ALIGNED_FLOATS) * _ALIGNED_FLOATS
