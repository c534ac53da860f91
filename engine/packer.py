"""Packs several agents' samples one after the other into micro-batches of at most a budget of tokens.

Order and cuts depend only on the samples and the packing options, so a pass can be repeated. An agent that is
not mixed has micro-batches of its own, which do not depend on the other agents.

Shapes: T packed tokens, N target tokens.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from engine.base_model import PackedBatch
from engine.blocks import Group
from engine.prefix_tree import SHARED_TOKENS_MIN, Layout, PrefixTree
from engine.recipe import Recipe, Term
from engine.tokens import Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """The champion's log-probabilities of one answer, read before the first step."""

    logprob_N: Tensor
    top_N: Tensor  # bool: the target is the champion's likeliest token
    hidden_ND: Tensor | None = None  # kept if a KL term needs the whole distribution

    @property
    def kept_hidden(self) -> Tensor:
        """The hidden states of a reference that was read with them."""
        assert self.hidden_ND is not None, "read with hidden_too"
        return self.hidden_ND


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portion:
    """A sample in one step."""

    sample: Sample
    references: tuple[Reference, ...] = ()  # one for each answer, if a term needs them
    coefficients: Mapping[Term, float] = field(default_factory=dict)  # normaliser included

    def coefficient(self, term: Term) -> float:
        """The factor of the sample's share in the term; 0 if it does not enter the term."""
        return self.coefficients.get(term, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tenant:
    """The agent that rows belong to; without a slot they use the base alone."""

    slot: int | None
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """The ranges of a portion's answers among a micro-batch's targets: [start, end) each."""

    portion: Portion
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MicroBatch:
    """The input of one forward and backward pass."""

    packed: PackedBatch
    row_N: Tensor  # the wanted row that predicts each target
    target_N: Tensor
    supervised_N: Tensor  # weight of each target in the supervised term
    placed: tuple[tuple[Tenant, tuple[Placed, ...]], ...]

    @property
    def tokens(self) -> int:
        """Rows that the base computes."""
        return int(self.packed.token_ids_T.numel())


@dataclass(frozen=True, slots=True, kw_only=True)
class PackingOptions:
    """How a step's work becomes micro-batches."""

    token_budget: int  # of one micro-batch; a single longer sample may exceed it
    mix_below_tokens: int  # agents with fewer tokens in a step share micro-batches; 0: none does
    share_prefixes: bool = True  # False in tests and benchmarks only, for comparison


def pack(
    work: Sequence[tuple[Tenant, Sequence[Portion]]], packing: PackingOptions, device: torch.device
) -> list[MicroBatch]:
    """The micro-batches of one step: those of agents that mix, then each other agent's own."""
    mixed: list[_Ordered] = []
    separate: list[_Ordered] = []
    for tenant, portions in work:
        # samples with a shared beginning are next to each other, so that cuts seldom separate them
        ordered = sorted(portions, key=lambda portion: portion.sample.prompt_ids)
        tokens = _tokens(ordered, packing)
        (mixed if tokens < packing.mix_below_tokens else separate).append((tenant, ordered))
    batches: list[MicroBatch] = []
    for work_together in [mixed, *([item] for item in separate)]:
        batches += _fill(work_together, packing, device)
    return batches


_Ordered = tuple[Tenant, list[Portion]]
_WHOLE_BELOW = 0.25  # of the budget: a tenant with fewer tokens is not divided between micro-batches


def _tokens(portions: Iterable[Portion], packing: PackingOptions) -> int:
    tree = PrefixTree(share=packing.share_prefixes)
    for portion in portions:
        for sequence in _sequences(portion):
            tree.add(sequence)
    return tree.tokens


def _fill(work: Sequence[_Ordered], packing: PackingOptions, device: torch.device) -> list[MicroBatch]:
    """As few micro-batches as the budget allows, of about equal size."""
    pieces = [(tenant, piece) for tenant, portions in work for piece in _pieces(portions, packing)]
    drafts = _cut(pieces, packing, even_tokens=packing.token_budget)
    if len(drafts) > 1:
        drafts = _cut(pieces, packing, even_tokens=-(-sum(draft.tokens for draft in drafts) // len(drafts)))
    return [draft.finish(device) for draft in drafts]


def _cut(
    pieces: Iterable[tuple[Tenant, Sequence[Portion]]], packing: PackingOptions, *, even_tokens: int
) -> list["_Draft"]:
    """Start a new draft where the budget is spent, or earlier, nearest to a multiple of `even_tokens`."""
    drafts: list[_Draft] = []
    earlier = 0  # tokens of the drafts before the last
    for tenant, piece in pieces:
        draft = drafts[-1] if drafts else _Draft(packing)
        cost = draft.cost(tenant, piece)
        over = draft.tokens + cost > packing.token_budget
        even = earlier + draft.tokens + cost / 2 > len(drafts) * even_tokens
        if not drafts or (draft.tokens and (over or even)):
            earlier += draft.tokens
            drafts.append(draft := _Draft(packing))
        draft.add(tenant, piece)
    return drafts


def _pieces(portions: Sequence[Portion], packing: PackingOptions) -> Iterator[Sequence[Portion]]:
    """The parts that are not cut: a small tenant's portions, otherwise a tenant's answers to one prompt."""
    if _tokens(portions, packing) <= packing.token_budget * _WHOLE_BELOW:
        yield portions
        return
    for _, group in groupby(portions, key=lambda portion: portion.sample.prompt_ids):
        run = list(group)
        if _tokens(run, packing) <= packing.token_budget:
            yield run
        else:
            yield from ([portion] for portion in run)


def _sequences(portion: Portion) -> list[tuple[int, ...]]:
    """The tokens that the base reads for each answer, without the last one, which predicts nothing."""
    sample = portion.sample
    return [(*sample.prompt_ids, *answer.token_ids[:-1]) for answer in sample.answers]


class _Draft:
    """A micro-batch that is not complete yet."""

    def __init__(self, packing: PackingOptions) -> None:
        self._form = packing
        self._tenants: list[tuple[Tenant, PrefixTree, list[Portion]]] = []

    @property
    def tokens(self) -> int:
        return sum(tree.tokens for _, tree, _ in self._tenants)

    def cost(self, tenant: Tenant, piece: Sequence[Portion]) -> int:
        """Upper bound of the tokens that the piece would add."""
        if not self._tenants or self._tenants[-1][0] is not tenant:
            return _tokens(piece, self._form)
        tree = self._tenants[-1][1]
        first_sequence, *other_sequences = (sequence for portion in piece for sequence in _sequences(portion))
        prompt = len(
            piece[0].sample.prompt_ids
        )  # of the whole piece: later pieces of a tenant have one prompt each
        shared = prompt if self._form.share_prefixes and prompt >= SHARED_TOKENS_MIN else 0
        return tree.missing(first_sequence) + sum(
            min(tree.missing(sequence), len(sequence) - shared) for sequence in other_sequences
        )

    def add(self, tenant: Tenant, piece: Sequence[Portion]) -> None:
        if not self._tenants or self._tenants[-1][0] is not tenant:
            self._tenants.append((tenant, PrefixTree(share=self._form.share_prefixes), []))
        _, tree, portions = self._tenants[-1]
        portions.extend(piece)
        for portion in piece:
            for sequence in _sequences(portion):
                tree.add(sequence)

    def finish(self, device: torch.device) -> MicroBatch:
        layout, groups = Layout(), []
        for tenant, tree, _ in self._tenants:
            start = len(layout.token_ids)
            tree.lay_out(layout)
            if tenant.slot is not None:
                groups.append(_group(tenant, tenant.slot, start, len(layout.token_ids)))
        target_rows = _TargetRows()
        placed = tuple(
            (tenant, tuple(target_rows.at(tree, portion) for portion in portions))
            for tenant, tree, portions in self._tenants
        )
        wanted = sorted(set(target_rows.rows))
        place = {row: index for index, row in enumerate(wanted)}
        return MicroBatch(
            packed=PackedBatch(
                token_ids_T=torch.tensor(layout.token_ids, device=device),
                positions_T=torch.tensor(layout.positions, device=device),
                segments=tuple(layout.segments),
                groups=tuple(groups),
                wanted=wanted,
            ),
            row_N=torch.tensor([place[row] for row in target_rows.rows], device=device),
            target_N=torch.tensor(target_rows.targets, device=device),
            supervised_N=torch.tensor(target_rows.supervised, device=device, dtype=torch.float32),
            placed=placed,
        )


def _group(tenant: Tenant, slot: int, start: int, end: int) -> Group:
    recipe = tenant.recipe
    return Group(slot=slot, start=start, end=end, scale=recipe.scale, targets=frozenset(recipe.targets))


@dataclass(slots=True)
class _TargetRows:
    """The row that predicts each target, answer after answer."""

    rows: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    supervised: list[float] = field(default_factory=list)

    def at(self, tree: PrefixTree, portion: Portion) -> Placed:
        sample, ranges = portion.sample, []
        for answer, sequence in zip(sample.answers, _sequences(portion), strict=True):
            start = len(self.targets)
            self.rows.extend(tree.rows(sequence)[len(sample.prompt_ids) - 1 :])
            self.targets.extend(answer.token_ids)
            weight = portion.coefficient(Term.SUPERVISED) if answer is sample.reply else 0.0
            self.supervised.extend(weight * value for value in answer.weights)
            ranges.append((start, len(self.targets)))
        return Placed(portion=portion, ranges=tuple(ranges))
