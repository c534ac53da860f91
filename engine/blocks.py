"""Divides the rows of a batch into blocks of equal length, each of one tenant, for one batched product.

If tenants have equally many rows, blocks are views of the rows. Otherwise rows are copied into the cells of
blocks, and results of empty cells are dropped. Each block is multiplied with its own tenant's matrices only;
a mask over tenants would not isolate them (0 times NaN is NaN).

Shapes: T rows of the batch, N blocks, L cells of each, S slots, C columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

_BLOCK_COST_ROWS = 32  # cost of one more block, in cells: its matrices are copied
_LENGTHS = (16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows `start` up to `end` of a batch belong to the tenant of `slot`."""

    slot: int
    start: int
    end: int
    scale: float
    targets: frozenset[str]  # last parts of the names of the linears this tenant adapts


@dataclass(frozen=True, slots=True)
class _Block:
    slot: int
    scale: float
    start: int  # rows
    end: int


class Blocks:
    """The rows of `groups` in blocks, with the products over them; device and dtype are those of `like`."""

    def __init__(self, groups: Sequence[Group], rows: int, like: Tensor) -> None:
        length = _block_length([group.end - group.start for group in groups])
        blocks = [
            _Block(group.slot, group.scale, start, min(start + length, group.end))
            for group in groups
            for start in range(group.start, group.end, length)
        ]
        self._shape = (len(blocks), length, -1)
        self._scale_N11 = torch.tensor([block.scale for block in blocks]).to(like)[:, None, None]
        self._slots = slice_or_index([block.slot for block in blocks], like.device)
        self._row_of_cell: Tensor | None = None  # None: the blocks are views of the rows
        full = all(block.end - block.start == length for block in blocks)
        if not full or len(blocks) * length < rows:
            starts_N1, ends_N1 = torch.tensor([(block.start, block.end) for block in blocks]).t()[:, :, None]
            rows_NL = starts_N1 + torch.arange(length)
            has_row = (rows_NL < ends_N1).flatten()
            self._rows = rows_of(groups, like.device)
            self._row_of_cell = rows_NL.minimum(ends_N1 - 1).flatten().to(like.device)
            self._empty_cells, self._cell_of_row = (
                cells.nonzero().flatten().to(like.device) for cells in (~has_row, has_row)
            )

    def of(self, matrices: Tensor) -> Tensor:
        """The matrices of each block's slot: S x ... to N x ..., a view if the slots are consecutive."""
        return matrices[self._slots]

    def spread(self, x_TC: Tensor) -> Tensor:
        """Rows to blocks (N x L x C); empty cells repeat the block's last row."""
        if self._row_of_cell is None:
            return x_TC.view(self._shape)
        return x_TC.index_select(0, self._row_of_cell).view(self._shape)

    def spread_once(self, x_TC: Tensor) -> Tensor:
        """Rows to blocks (N x L x C); empty cells are zero, so that no row counts twice."""
        if self._row_of_cell is None:
            return x_TC.view(self._shape)
        cells = x_TC.index_select(0, self._row_of_cell).index_fill_(0, self._empty_cells, 0.0)
        return cells.view(self._shape)

    def product(self, left_NLC: Tensor, right_NCR: Tensor) -> Tensor:
        """Each block's rows times its own matrix (N x L x R)."""
        return torch.bmm(left_NLC, right_NCR)

    def scale_(self, h_NLR: Tensor) -> Tensor:
        """Multiply every row by its tenant's scale, in place."""
        return h_NLR.mul_(self._scale_N11)

    def add_product(self, into_TC: Tensor, left_NLR: Tensor, right_NRC: Tensor) -> None:
        """into += left · right, on the blocks' rows only."""
        if self._row_of_cell is None:
            into_TC.view(self._shape).baddbmm_(left_NLR, right_NRC)
        else:
            cells = torch.bmm(left_NLR, right_NRC).flatten(0, 1)
            self._add_to_rows(into_TC, cells.index_select(0, self._cell_of_row))

    def sum_product(self, into_S: Tensor, left_N: Tensor, right_N: Tensor) -> None:
        """into[slot] += left · right, summed over the slot's blocks; `into` may be of a wider dtype."""
        self._add_to_slots(into_S, torch.bmm(left_N, right_N))

    def _add_to_rows(self, into_TC: Tensor, answer_TC: Tensor) -> None:
        if isinstance(self._rows, Tensor):  # no row occurs twice
            into_TC.index_copy_(0, self._rows, answer_TC.add_(into_TC[self._rows]))
        else:
            into_TC[self._rows].add_(answer_TC)

    def _add_to_slots(self, into_S: Tensor, sums_N: Tensor) -> None:
        if isinstance(self._slots, Tensor):
            into_S.index_add_(0, self._slots, sums_N.to(into_S.dtype))
        else:
            into_S[self._slots].add_(sums_N)


@dataclass(slots=True)
class RowOwners:
    """The tenants of the rows in the present batch, for all linears that compute those rows."""

    blocks_type: type[Blocks]
    groups: tuple[Group, ...] = ()
    rows: int = 0
    _blocks: dict[tuple[Group, ...], Blocks | None] = field(default_factory=dict)
    _by_targets: dict[frozenset[str], Blocks | None] = field(default_factory=dict)

    def route(self, groups: tuple[Group, ...], rows: int) -> None:
        """Set the tenants of the next batch's rows; rows in no group use the base alone."""
        self.groups, self.rows = groups, rows
        self._blocks, self._by_targets = {}, {}

    def of(self, targets: frozenset[str], like: Tensor) -> Blocks | None:
        """Blocks of the tenants that adapt any of these linears; None if no tenant does."""
        if targets not in self._by_targets:
            groups = tuple(group for group in self.groups if targets & group.targets)
            if groups not in self._blocks:
                self._blocks[groups] = self.blocks_type(groups, self.rows, like) if groups else None
            self._by_targets[targets] = self._blocks[groups]
        return self._by_targets[targets]


def rows_of(groups: Sequence[Group], device: torch.device) -> slice | Tensor:
    """The rows of all tenants, in order."""
    return slice_or_index([row for group in groups for row in range(group.start, group.end)], device)


def slice_or_index(slots: Sequence[int], device: torch.device) -> slice | Tensor:
    """A slice if the slots are consecutive, because a slice copies nothing; otherwise an index."""
    run = range(slots[0], slots[0] + len(slots))
    return slice(run.start, run.stop) if list(slots) == list(run) else torch.tensor(slots, device=device)


def _block_length(lengths: Sequence[int]) -> int:
    """The length with the lowest cost in cells and blocks; it depends on the lengths only."""

    def cost(length: int) -> int:
        blocks = sum(-(-rows // length) for rows in lengths)
        return blocks * (length + _BLOCK_COST_ROWS) * (1 if blocks == len(lengths) else 2)

    return min(sorted({*lengths, *_LENGTHS}, reverse=True), key=cost)
