"""Causal attention over packed sequences: each segment sees itself and the segments it continues.

Segments of one shape are entries of one batch, whoever they belong to: no sequence's rows enter another's
products.

Shapes: T packed tokens, L tokens of one segment, P of what it continues, n segments, S key rows of them all,
H query heads, K key/value heads, D head size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

_WIDE_KEYS_MAX = 256  # torch's backward of so short attention is two to eight times slower in bf16 on a CPU


@dataclass(frozen=True, slots=True)
class Segment:
    """`length` packed tokens that continue the segments whose indices are in `prefix` (oldest first)."""

    length: int
    prefix: tuple[int, ...] = ()


class PackedAttention:
    """Attention over the same segments, layer after layer."""

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        seen = key_rows(segments)
        alike: dict[tuple[int, int], list[int]] = {}
        for index, segment in enumerate(segments):
            alike.setdefault((segment.length, len(seen[index]) - segment.length), []).append(index)
        self._batches = [
            _Batch(
                len(ones), length, prefix + length, _causal_after(prefix, length, device) if prefix else None
            )
            for (length, prefix), ones in alike.items()
        ]
        order = [index for ones in alike.values() for index in ones]
        query_rows = [row for index in order for row in seen[index][-segments[index].length :]]
        self._query_rows = index_of(query_rows, device)
        self._key_rows = index_of([row for index in order for row in seen[index]], device)
        place = {row: index for index, row in enumerate(query_rows)}
        self._answer_rows = index_of([place[row] for row in range(len(query_rows))], device)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float) -> Tensor:
        """query (T x H x D), key and value (T x K x D) to T x H x D."""
        # split, not slices: the backward of a slice fills a zero tensor of the whole pass for every batch
        query_counts = [one.count * one.length for one in self._batches]
        key_counts = [one.count * one.key_length for one in self._batches]
        queries = torch.split(select_rows(query, self._query_rows), query_counts)
        keys, values = (torch.split(select_rows(whole, self._key_rows), key_counts) for whole in (key, value))
        out = []
        for batch, *given in zip(self._batches, queries, keys, values, strict=True):
            q, k, v = (rows.view(batch.count, -1, *rows.shape[1:]).transpose(1, 2) for rows in given)
            if q.device.type == "cpu" and q.dtype == torch.bfloat16 and batch.key_length <= _WIDE_KEYS_MAX:
                q, k, v = q.float(), k.float(), v.float()
            answer = F.scaled_dot_product_attention(
                q, k, v, batch.seen_mask, is_causal=batch.seen_mask is None, scale=scaling, enable_gqa=True
            )
            out.append(answer.to(query.dtype).transpose(1, 2).flatten(0, 1))
        return select_rows(torch.cat(out), self._answer_rows)


def key_rows(segments: Sequence[Segment]) -> list[list[int]]:
    """For each segment the packed rows it sees: of the segments it continues, and then its own."""
    ends = [0, *accumulate(segment.length for segment in segments)]
    own = [range(start, start + segment.length) for start, segment in zip(ends, segments, strict=False)]
    return [
        [row for one in (*segment.prefix, index) for row in own[one]]
        for index, segment in enumerate(segments)
    ]


def index_of(rows: Sequence[int], device: torch.device) -> Tensor | None:
    """None where the rows are in order as they lie."""
    return None if list(rows) == list(range(len(rows))) else torch.tensor(rows, device=device)


def select_rows(whole: Tensor, rows: Tensor | None) -> Tensor:
    """The rows `index_of` stands for, in its order."""
    return whole if rows is None else whole.index_select(0, rows)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Segments of one shape."""

    count: int
    length: int
    key_length: int
    seen_mask: Tensor | None  # bool (L x P + L); None: causal


def _causal_after(prefix: int, length: int, device: torch.device) -> Tensor:
    """All of the prefix, and oneself up to the own position."""
    return torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)
