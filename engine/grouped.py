"""The rows of a pass as they lie, tenant after tenant, for products that serve all tenants in one launch.

For GPUs, where tenants of unequal length would cost copies or a launch each: `F.grouped_mm` takes every
tenant's rows as a problem of its own, of any length. Its kernels want rows of whole 16 bytes everywhere, and
no padding of the tenants as long as the matrices that meet along the rows lie with rows outermost: they do.

Shapes as in `engine.blocks`; T rows of N tenants stand for its N x L cells.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.blocks import Blocks, Group, rows_of, slice_or_index


class GroupedRows(Blocks):
    """Blocks of any length, one a tenant."""

    def __init__(self, groups: Sequence[Group], rows: int, like: Tensor) -> None:  # noqa: ARG002 as Blocks
        lengths = [group.end - group.start for group in groups]
        scales = torch.tensor([group.scale for group in groups])  # fp32: rounded with the product, not before
        self._scale_T1 = scales.repeat_interleave(torch.tensor(lengths))[:, None].to(like.device)
        self._ends_N = torch.tensor(list(accumulate(lengths)), dtype=torch.int32, device=like.device)
        self._slots = slice_or_index([group.slot for group in groups], like.device)
        self._rows = rows_of(groups, like.device)

    def spread(self, x_TC: Tensor) -> Tensor:
        """The tenants' rows (T x C): a view, unless nobody's rows lie between them."""
        return x_TC[self._rows]

    spread_once = spread

    def product(self, left_TC: Tensor, right_NCR: Tensor) -> Tensor:
        """Each tenant's rows times its own matrix (T x R)."""
        return F.grouped_mm(left_TC, right_NCR, offs=self._ends_N)

    def scale_(self, h_TR: Tensor) -> Tensor:
        """In place: every row times its tenant's scale."""
        return h_TR.mul_(self._scale_T1)

    def add_product(self, into_TC: Tensor, left_TR: Tensor, right_NRC: Tensor) -> None:
        """into += left · right, on the tenants' rows alone."""
        self._add_to_rows(into_TC, self.product(left_TR, right_NRC))

    def sum_product(self, into_S: Tensor, left_RT: Tensor, right_TC: Tensor) -> None:
        """into[slot] += left · right, over the slot's rows; `into` may be of a wider dtype."""
        self._add_to_slots(into_S, F.grouped_mm(left_RT, right_TC, offs=self._ends_N))
