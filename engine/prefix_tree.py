"""A radix tree of one tenant's token sequences: a shared beginning is computed once.

A node is a run of tokens that continues its ancestors. A run is split only if enough tokens are shared to pay
for one more attention call. Tenants never share: their adapters differ, and so do their rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.attention import Segment

SHARED_TOKENS_MIN = 16

Tokens = tuple[int, ...]


@dataclass(slots=True, eq=False)
class _Node:
    token_ids: Tokens
    position: int  # of its first token in the sequence
    children: list["_Node"] = field(default_factory=list)
    row: int = -1  # of its first token in the batch, set by `lay_out`


@dataclass(slots=True)
class Layout:
    """The tree's tokens in the order of the batch's rows."""

    token_ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


class PrefixTree:
    """Grows by whole sequences; `tokens` is the number of rows that a batch of it computes."""

    def __init__(self, *, share: bool) -> None:
        self.tokens = 0
        self._share = share
        self._roots: list[_Node] = []

    def add(self, sequence: Tokens) -> None:
        """Add a sequence; `rows` finds it after `lay_out`."""
        siblings, position = self._roots, 0
        while sequence:
            node, shared = self._best(siblings, sequence)
            if node is None:
                siblings.append(_Node(sequence, position))
                self.tokens += len(sequence)
                return
            if shared < min(len(node.token_ids), len(sequence)):
                _split(node, shared)
            if shared == len(node.token_ids) and not node.children:
                node.token_ids += sequence[shared:]  # one causal run: nothing else continues this one
                self.tokens += len(sequence) - shared
                return
            siblings, sequence, position = node.children, sequence[shared:], position + shared

    def missing(self, sequence: Tokens) -> int:
        """How many tokens `add` would add for this sequence."""
        siblings = self._roots
        while sequence:
            node, shared = self._best(siblings, sequence)
            if node is None:
                return len(sequence)
            siblings, sequence = node.children if shared == len(node.token_ids) else [], sequence[shared:]
        return 0

    def lay_out(self, into: Layout) -> None:
        """Append the tree's tokens, ancestors before their descendants."""
        for root in self._roots:
            _lay_out(root, (), into)

    def rows(self, sequence: Tokens) -> list[int]:
        """The row of each token of a sequence that was added before `lay_out`."""
        rows = next(_paths(self._roots, sequence), None)
        assert rows is not None, "only sequences that were added have rows"
        return rows

    def _best(self, siblings: Sequence[_Node], sequence: Tokens) -> tuple[_Node | None, int]:
        """The sibling that shares most tokens, and how many; None if too few are shared."""
        best, furthest = None, 0
        if not self._share:
            return best, furthest
        for node in siblings:
            least = min(SHARED_TOKENS_MIN, len(node.token_ids), len(sequence))
            if node.token_ids[:least] == sequence[:least]:
                shared = common(node.token_ids, sequence)
                if shared > furthest:
                    best, furthest = node, shared
        return best, furthest


def common(left: Tokens, right: Tokens) -> int:
    """Number of tokens at the beginning that two sequences share."""
    for index, (left_token, right_token) in enumerate(zip(left, right, strict=False)):
        if left_token != right_token:
            return index
    return min(len(left), len(right))


def _split(node: _Node, at: int) -> None:
    """Divide the node after `at` tokens; the remainder becomes its only child."""
    remainder = _Node(node.token_ids[at:], node.position + at, node.children)
    node.token_ids, node.children = node.token_ids[:at], [remainder]


def _lay_out(node: _Node, ancestors: tuple[int, ...], into: Layout) -> None:
    node.row = len(into.token_ids)
    into.token_ids.extend(node.token_ids)
    into.positions.extend(range(node.position, node.position + len(node.token_ids)))
    index = len(into.segments)
    into.segments.append(Segment(len(node.token_ids), ancestors))
    for child in node.children:
        _lay_out(child, (*ancestors, index), into)


def _paths(siblings: Sequence[_Node], sequence: Tokens) -> Iterator[list[int]]:
    if not sequence:
        yield []
        return
    for node in siblings:
        shared = common(node.token_ids, sequence)
        rows = list(range(node.row, node.row + shared))
        if shared == len(sequence):
            yield rows
        elif shared == len(node.token_ids):
            for later_rows in _paths(node.children, sequence[shared:]):
                yield rows + later_rows
