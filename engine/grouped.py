"""Multiplies the rows of all tenants in one launch, without copying them into blocks. For GPUs.

There, tenants of unequal length would cost copies or one launch for each. `F.grouped_mm` takes each tenant's
rows as one problem of any length. Its kernels need rows of whole 16 bytes, and no padding between tenants as
long as the matrices that are multiplied along the rows have the rows as outermost dimension, as here.

Shapes as in `engine.blocks`; T rows of N tenants replace its N x L cells.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.blocks import Blocks, Group, rows_of, slice_or_index


class GroupedRows(Blocks):
    """Blocks of any length, one for each tenant."""

    def __init__(self, groups: Sequence[Group], rows: int, like: Tensor) -> None:  # noqa: ARG002 as Blocks
        lengths = [group.end - group.start for group in groups]
        scales = torch.tensor([group.scale for group in groups])  # fp32: rounded with the product, not before
        self._scale_T1 = scales.repeat_interleave(torch.tensor(lengths))[:, None].to(like.device)
        self._ends_N = torch.tensor(list(accumulate(lengths)), dtype=torch.int32, device=like.device)
        self._slots = slice_or_index([group.slot for group in groups], like.device)
        self._rows = rows_of(groups, like.device)

    def spread(self, x_TC: Tensor) -> Tensor:
        """The tenants' rows (T x C): a view, unless rows without a tenant lie between them."""
        return x_TC[self._rows]

    spread_once = spread

    def product(self, left_TC: Tensor, right_NCR: Tensor) -> Tensor:
        """Each tenant's rows times its own matrix (T x R)."""
        return F.grouped_mm(left_TC, right_NCR, offs=self._ends_N)

    def scale_(self, h_TR: Tensor) -> Tensor:
        """Multiply every row by its tenant's scale, in place."""
        return h_TR.mul_(self._scale_T1)

    def add_product(self, into_TC: Tensor, left_TR: Tensor, right_NRC: Tensor) -> None:
        """into += left · right, on the tenants' rows only."""
        self._add_to_rows(into_TC, self.product(left_TR, right_NRC))

    def sum_product(self, into_S: Tensor, left_RT: Tensor, right_TC: Tensor) -> None:
        """into[slot] += left · right, over the slot's rows; `into` may be of a wider dtype."""
        self._add_to_slots(into_S, F.grouped_mm(left_RT, right_TC, offs=self._ends_N))
