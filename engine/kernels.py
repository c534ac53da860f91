"""Chooses the implementation of low-rank products, attention and experts for a device, when a base is loaded.

The plain implementations run everywhere, and the others must give equal results. The choice is part of the
recorded form of a pass.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.arena import Arena
from engine.attention import PackedAttention, Segment
from engine.blocks import Blocks
from engine.experts import ExpertProduct, expert_by_expert, experts_in_one_launch
from engine.grouped import GroupedRows
from engine.varlen import VarlenAttention

# torch's own minimum: below it grouped_mm loops over the tenants and waits for the GPU each time
_GROUPED_CAPABILITY_MIN = (9, 0)
_GROUPS_MAX = 1023  # of one launch
_FLASH_CAPABILITY_MIN = (8, 0)
_FLASH_HEAD_SIZE_MAX = 256
_ALIGNED = 8  # bf16 numbers in 16 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """The implementations a base computes with; `attention` is built once for each batch."""

    products: type[Blocks]
    attention: Callable[[Sequence[Segment], torch.device], Callable[..., Tensor]]
    experts: ExpertProduct
    name: str


PLAIN = Kernels(products=Blocks, attention=PackedAttention, experts=expert_by_expert, name="blocks")
FLASH = Kernels(products=Blocks, attention=VarlenAttention, experts=expert_by_expert, name="blocks, flash")
GROUPED_FLASH = Kernels(
    products=GroupedRows, attention=VarlenAttention, experts=experts_in_one_launch, name="grouped, flash"
)


def kernels_for(arena: Arena, *, head_size: int, expert_sizes: Collection[int] = ()) -> Kernels:
    """The kernels for the base of this arena. `expert_sizes`: rows and columns of its experts' matrices."""
    rows = arena.shadow
    if rows.device.type != "cuda":
        return PLAIN
    sizes = {size for place in arena.places.values() for size in (place.inputs, place.outputs)}
    sizes |= {arena.rank, *expert_sizes}
    aligned = not any(size % _ALIGNED for size in sizes)
    return kernels_of_gpu(
        torch.cuda.get_device_capability(rows.device),
        rows.dtype,
        grouped=aligned and arena.slots <= _GROUPS_MAX,
        head_size=head_size,
    )


def kernels_of_gpu(
    capability: tuple[int, int], dtype: torch.dtype, *, grouped: bool, head_size: int
) -> Kernels:
    """The kernels for an NVIDIA GPU of this compute capability; `grouped`: the base's sizes allow it."""
    flash = head_size <= _FLASH_HEAD_SIZE_MAX and not head_size % _ALIGNED
    if dtype != torch.bfloat16 or capability < _FLASH_CAPABILITY_MIN or not flash:
        return PLAIN
    return GROUPED_FLASH if grouped and capability >= _GROUPED_CAPABILITY_MIN else FLASH
