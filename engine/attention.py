"""Causal attention over packed sequences: each segment attends to itself and the segments it continues.

Segments of one shape form one batch, whatever tenant they belong to: no sequence's rows enter another's
products.

Shapes: T packed tokens, L tokens of one segment, P tokens before it, n segments, S key rows of them all,
H query heads, K key/value heads, D head size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

_FP32_KEYS_MAX = 256  # up to here torch's backward of attention is 2 to 8 times slower in bf16 on a CPU


@dataclass(frozen=True, slots=True)
class Segment:
    """`length` packed tokens that continue the segments whose indices are in `prefix` (oldest first)."""

    length: int
    prefix: tuple[int, ...] = ()


class PackedAttention:
    """Attention over the same segments in every layer, in one batched call for each shape."""

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        visible_rows = key_rows(segments)
        indices_by_shape: dict[tuple[int, int], list[int]] = {}
        for index, segment in enumerate(segments):
            indices_by_shape.setdefault(
                (segment.length, len(visible_rows[index]) - segment.length), []
            ).append(index)
        self._batches = [
            _Batch(
                len(indices), length, prefix + length, _mask_after(prefix, length, device) if prefix else None
            )
            for (length, prefix), indices in indices_by_shape.items()
        ]
        order = [index for indices in indices_by_shape.values() for index in indices]
        query_rows = [row for index in order for row in visible_rows[index][-segments[index].length :]]
        self._query_rows = index_of(query_rows, device)
        self._key_rows = index_of([row for index in order for row in visible_rows[index]], device)
        place = {row: index for index, row in enumerate(query_rows)}
        self._answer_rows = index_of([place[row] for row in range(len(query_rows))], device)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float) -> Tensor:
        """query (T x H x D), key and value (T x K x D) to T x H x D."""
        # split, not slices: the backward of a slice fills a zero tensor of the whole pass for every batch
        query_counts = [batch.count * batch.length for batch in self._batches]
        key_counts = [batch.count * batch.key_length for batch in self._batches]
        queries = torch.split(select_rows(query, self._query_rows), query_counts)
        keys, values = (torch.split(select_rows(whole, self._key_rows), key_counts) for whole in (key, value))
        out = []
        for batch, *given in zip(self._batches, queries, keys, values, strict=True):
            q, k, v = (rows.view(batch.count, -1, *rows.shape[1:]).transpose(1, 2) for rows in given)
            if q.device.type == "cpu" and q.dtype == torch.bfloat16 and batch.key_length <= _FP32_KEYS_MAX:
                q, k, v = q.float(), k.float(), v.float()
            answer = F.scaled_dot_product_attention(
                q, k, v, batch.seen_mask, is_causal=batch.seen_mask is None, scale=scaling, enable_gqa=True
            )
            out.append(answer.to(query.dtype).transpose(1, 2).flatten(0, 1))
        return select_rows(torch.cat(out), self._answer_rows)


def key_rows(segments: Sequence[Segment]) -> list[list[int]]:
    """For each segment the packed rows it attends to: those of the segments it continues, then its own."""
    ends = [0, *accumulate(segment.length for segment in segments)]
    own = [range(start, start + segment.length) for start, segment in zip(ends, segments, strict=False)]
    return [
        [row for part in (*segment.prefix, index) for row in own[part]]
        for index, segment in enumerate(segments)
    ]


def index_of(rows: Sequence[int], device: torch.device) -> Tensor | None:
    """The rows as an index; None if it would be 0, 1, 2, … (nothing to reorder)."""
    return None if list(rows) == list(range(len(rows))) else torch.tensor(rows, device=device)


def select_rows(whole: Tensor, rows: Tensor | None) -> Tensor:
    """The rows of an index that `index_of` made, in its order."""
    return whole if rows is None else whole.index_select(0, rows)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Segments of one shape."""

    count: int
    length: int
    key_length: int
    seen_mask: Tensor | None  # bool (L x P + L); None: causal


def _mask_after(prefix: int, length: int, device: torch.device) -> Tensor:
    """The mask of a segment's tokens: all of the prefix, and the segment up to the token's own position."""
    return torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)
