"""Causal attention over packed sequences: each segment sees itself and the segments it continues.

No sequence's rows enter another's products: segments are separate calls, or separate entries of a batch.

Shapes: T packed tokens, L tokens of one segment, n segments, H query heads, K key/value heads, D head size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Segment:
    """`length` packed tokens that continue the segments whose indices are in `prefix` (oldest first)."""

    length: int
    prefix: tuple[int, ...] = ()


class PackedAttention:
    """Attention over the same segments, layer after layer."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._runs = list(_runs(segments))
        self._lengths = [run.count * run.length for run in self._runs]
        self._run_of = {run.first: index for index, run in enumerate(self._runs)}

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, *, scaling: float) -> Tensor:
        """query (T x H x D), key and value (T x K x D) to T x H x D."""
        # split, not slices: the backward of a slice fills a zero tensor of the whole pass for every segment
        queries, keys, values = (torch.split(whole, self._lengths) for whole in (query, key, value))
        out = []
        for index, run in enumerate(self._runs):
            q, k, v, seen_mask = queries[index], keys[index], values[index], None
            if run.prefix:
                before = [self._run_of[segment] for segment in run.prefix]
                k, v = (
                    torch.cat([*(all_of[i] for i in before), own]) for all_of, own in ((keys, k), (values, v))
                )
                seen_mask = _causal_after(len(k) - run.length, run.length, query.device)
            q, k, v = (all_of.view(run.count, -1, *all_of.shape[1:]).transpose(1, 2) for all_of in (q, k, v))
            answer = F.scaled_dot_product_attention(
                q, k, v, seen_mask, is_causal=seen_mask is None, scale=scaling, enable_gqa=True
            )
            out.append(answer.transpose(1, 2).flatten(0, 1))
        return torch.cat(out)


@dataclass(frozen=True, slots=True)
class _Run:
    """Segments of one length that follow one another and share nothing, or one segment."""

    first: int
    count: int
    length: int
    prefix: tuple[int, ...]


def _runs(segments: Sequence[Segment]) -> Iterator[_Run]:
    continued = {index for segment in segments for index in segment.prefix}
    alone = [not segment.prefix and index not in continued for index, segment in enumerate(segments)]
    first = 0
    for index, segment in enumerate(segments):
        last = index + 1 == len(segments)
        if last or not (alone[index] and alone[index + 1] and segment.length == segments[index + 1].length):
            yield _Run(first, index + 1 - first, segment.length, segment.prefix)
            first = index + 1


def _causal_after(prefix: int, length: int, device: torch.device) -> Tensor:
    """Bool mask (length x prefix + length): all of the prefix, and oneself up to the own position."""
    return torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)
