"""The devices that the engine's tests run on, each with the kernels that it supports.

Without a GPU, the GPU's implementations run on the CPU too; only the kernel of flash attention is replaced,
by the function below.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest
import torch

from engine.experts import experts_in_one_launch
from engine.grouped import GroupedRows
from engine.kernels import PLAIN, Kernels
from engine.varlen import VarlenAttention


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A device with its kernels; `kernels` None: the base chooses them."""

    name: str
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    kernels: Kernels | None = None
    tolerance: float = 1e-5  # relative L2, against fp32 on the CPU

    def __str__(self) -> str:
        return self.name


def varlen_attention_by_masks(
    query, key, value, query_ends, key_ends, query_max, key_max, *, scale, window_size, enable_gqa
):
    """The result of `torch.nn.attention.varlen.varlen_attn`, by full masks, sequence by sequence."""
    assert window_size == (-1, 0), "causal"
    assert enable_gqa
    assert query_ends.dtype == key_ends.dtype == torch.int32
    assert query_max == int(query_ends.diff().max())
    assert key_max == int(key_ends.diff().max())
    assert (len(query), len(key)) == (int(query_ends[-1]), int(key_ends[-1]))
    out = []
    for (q0, q1), (k0, k1) in zip(pairwise(query_ends.tolist()), pairwise(key_ends.tolist()), strict=True):
        heads = query.shape[1] // key.shape[1]
        k, v = (tensor[k0:k1].repeat_interleave(heads, dim=1) for tensor in (key, value))
        scores = torch.einsum("qhd,khd->hqk", query[q0:q1], k) * scale
        unseen = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).triu(1 + (k1 - k0) - (q1 - q0))
        weights = scores.masked_fill(unseen, -torch.inf).softmax(-1)
        out.append(torch.einsum("hqk,khd->qhd", weights, v))
    return torch.cat(out)


PLAIN_CPU = Machine(name="cpu", kernels=PLAIN)
GPU_FORMS_ON_CPU = Machine(
    name="cpu-gpu-forms",
    kernels=Kernels(
        products=GroupedRows,
        attention=partial(VarlenAttention, kernel=varlen_attention_by_masks),
        experts=experts_in_one_launch,
        name="as on a GPU",
    ),
)
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
MACHINES = [
    PLAIN_CPU,
    GPU_FORMS_ON_CPU,
    *(
        Machine(name=f"{device}-{name}", device=device, dtype=getattr(torch, name), tolerance=tolerance)
        for device in DEVICES[1:]
        for name, tolerance in (("float32", 1e-4), ("bfloat16", 4e-2))
    ),
]
on_every_device: Callable = pytest.mark.parametrize("device", DEVICES)
on_every_machine: Callable = pytest.mark.parametrize("machine", MACHINES, ids=str)
on_every_fp32_machine: Callable = pytest.mark.parametrize(
    "machine", [machine for machine in MACHINES if machine.dtype == torch.float32], ids=str
)
"""For terms that are differences from the champion's numbers: bf16 has too few digits for those."""
