"""Causal attention over packed sequences: each segment sees itself and the segments it continues.

Registered with transformers as one more attention implementation, so the modelling code stays as it is.
Segments are separate calls: no sequence's rows enter another's products.

Shapes: H query heads, K key/value heads, T packed tokens, L tokens of one segment, D head dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "clorad_packed"


@dataclass(frozen=True, slots=True)
class Segment:
    """`length` packed tokens that continue the segments whose indices are in `prefix` (oldest first)."""

    length: int
    prefix: tuple[int, ...] = ()


def packed_attention(
    module: nn.Module,  # noqa: ARG001 the registry's signature
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: Sequence[Segment],
    scaling: float | None = None,
    **_ignored: Any,  # dropout (0), sliding window (refused at load), and what else a model passes along
) -> tuple[Tensor, None]:
    """query (1 x H x T x D), key and value (1 x K x T x D) to (1 x T x H x D), segment by segment."""
    assert attention_mask is None, "packed passes carry segments, not masks"
    lengths = [segment.length for segment in segments]
    # split, not slices: the backward of a slice fills a zero tensor of the whole pass for every segment
    queries, keys, values = (torch.split(tensor, lengths, dim=2) for tensor in (query, key, value))
    out = []
    for index, segment in enumerate(segments):
        k, v, seen_mask = keys[index], values[index], None
        if segment.prefix:
            k = torch.cat([*(keys[i] for i in segment.prefix), k], dim=2)
            v = torch.cat([*(values[i] for i in segment.prefix), v], dim=2)
            seen_mask = _causal_after(k.shape[2] - segment.length, segment.length, query.device)
        out.append(
            F.scaled_dot_product_attention(
                queries[index], k, v, seen_mask, is_causal=seen_mask is None, scale=scaling, enable_gqa=True
            )
        )
    # each piece already lies as L x H x D in memory: put together so, it is copied once
    return torch.cat([piece.transpose(1, 2) for piece in out], dim=1), None


def _causal_after(prefix: int, length: int, device: torch.device) -> Tensor:
    """Bool mask (length x prefix + length): all of the prefix, and oneself up to the own position."""
    return torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)


ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
