"""Token sequences of one tenant in which a shared beginning is computed once.

A radix tree: a node is a run of tokens that continues its ancestors. Runs are split only where enough is
shared to pay for one more attention call. Never between tenants: their adapters differ, so their rows do.
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
    row: int = -1  # of its first token in the pass, once laid out


@dataclass(slots=True)
class Layout:
    """The tree's tokens in the order a pass computes them."""

    token_ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


class PrefixTree:
    """Grows by whole sequences; `tokens` is what a pass over it computes."""

    def __init__(self, *, share: bool) -> None:
        self.tokens = 0
        self._share = share
        self._roots: list[_Node] = []

    def add(self, sequence: Tokens) -> None:
        """The sequence can be looked up after `lay_out`."""
        siblings, position = self._roots, 0
        while sequence:
            node, shared = self._best(siblings, sequence)
            if node is None:
                siblings.append(_Node(sequence, position))
                self.tokens += len(sequence)
                return
            if shared < min(len(node.token_ids), len(sequence)):
                _split(node, shared)
            siblings, sequence, position = node.children, sequence[shared:], position + shared

    def missing(self, sequence: Tokens) -> int:
        """How many tokens adding the sequence would cost."""
        siblings = self._roots
        while sequence:
            node, shared = self._best(siblings, sequence)
            if node is None:
                return len(sequence)
            siblings, sequence = node.children if shared == len(node.token_ids) else [], sequence[shared:]
        return 0

    def lay_out(self, into: Layout) -> None:
        """Appends the tree's tokens, ancestors before their descendants."""
        for root in self._roots:
            _lay_out(root, (), into)

    def rows(self, sequence: Tokens) -> list[int]:
        """The pass's row of each token of a sequence that was added before `lay_out`."""
        found = next(_paths(self._roots, sequence), None)
        assert found is not None, "only sequences that were added have rows"
        return found

    def _best(self, siblings: Sequence[_Node], sequence: Tokens) -> tuple[_Node | None, int]:
        """The sibling to go on in and how far, or none where too little is shared."""
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
    """Length of the beginning two sequences have in common."""
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))


def _split(node: _Node, at: int) -> None:
    """The node ends after `at` tokens; the rest of it is its only child."""
    rest = _Node(node.token_ids[at:], node.position + at, node.children)
    node.token_ids, node.children = node.token_ids[:at], [rest]


def _lay_out(node: _Node, ancestors: tuple[int, ...], into: Layout) -> None:
    node.row = len(into.token_ids)
    into.token_ids.extend(node.token_ids)
    into.positions.extend(range(node.position, node.position + len(node.token_ids)))
    here = len(into.segments)
    into.segments.append(Segment(len(node.token_ids), ancestors))
    for child in node.children:
        _lay_out(child, (*ancestors, here), into)


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
            for rest in _paths(node.children, sequence[shared:]):
                yield rows + rest
