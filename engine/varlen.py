"""Causal attention over all segments of a batch in one launch, for a flash kernel with variable lengths.

A segment's keys are those of the segments it continues, then its own; they are copied into that order in
every layer. Its queries are the last of these rows, as the kernel's causal mask (aligned bottom right)
requires. The kernel is an argument, so that everything but the kernel is tested without a GPU.

Shapes: T packed tokens, n segments, S key rows of them all, H query heads, K key/value heads, D head size.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from engine.attention import Segment, index_of, key_rows, select_rows


class VarlenAttention:
    """Attention over the same segments in every layer; `kernel` is called like torch's `varlen_attn`."""

    def __init__(
        self,
        segments: Sequence[Segment],
        device: torch.device,
        *,
        kernel: Callable[..., Any] = varlen_attn,
    ) -> None:
        lengths = [segment.length for segment in segments]
        ends = [0, *accumulate(lengths)]
        visible_rows = key_rows(segments)
        key_lengths = [len(rows) for rows in visible_rows]
        self._kernel = kernel
        self._query_max, self._key_max = max(lengths), max(key_lengths)
        self._query_ends_n1 = torch.tensor(ends, dtype=torch.int32, device=device)
        self._key_ends_n1 = torch.tensor([0, *accumulate(key_lengths)], dtype=torch.int32, device=device)
        self._key_rows_S = index_of([row for segment_rows in visible_rows for row in segment_rows], device)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float) -> Tensor:
        """query (T x H x D), key and value (T x K x D) to T x H x D."""
        answer: Tensor = self._kernel(
            query,
            select_rows(key, self._key_rows_S),
            select_rows(value, self._key_rows_S),
            self._query_ends_n1,
            self._key_ends_n1,
            self._query_max,
            self._key_max,
            scale=scaling,
            window_size=(-1, 0),  # causal
            enable_gqa=True,
        )
        return answer
