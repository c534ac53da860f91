"""Several agents' samples laid end to end, agent by agent, into passes of at most a budget of tokens.

Order and cuts depend on the samples and the form alone, so a pass can be repeated. An agent that is not
mixed has micro-batches of its own, and nothing about them depends on who else is learning.

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
    """What the champion makes of one answer, read before the first step."""

    logprob_N: Tensor
    top_N: Tensor  # bool: the target was its likeliest token
    hidden_ND: Tensor | None = None  # kept where a KL term needs the whole distribution

    @property
    def kept_hidden(self) -> Tensor:
        """The hidden states, of a reference that was asked to keep them."""
        assert self.hidden_ND is not None, "read_references was asked to keep it"
        return self.hidden_ND


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portion:
    """A sample's part in one step."""

    sample: Sample
    references: tuple[Reference, ...] = ()  # one an answer, where a term needs them
    coefficients: Mapping[Term, float] = field(default_factory=dict)  # normaliser included

    def coefficient(self, term: Term) -> float:
        """What the sample's share of the term is multiplied by; 0 where it does not enter the term."""
        return self.coefficients.get(term, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tenant:
    """Whose rows these are; no slot means the bare base."""

    slot: int | None
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """Where a portion's answers lie among a micro-batch's targets: [start, end) each."""

    portion: Portion
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MicroBatch:
    """One forward and backward."""

    packed: PackedBatch
    row_N: Tensor  # which of the pass's wanted rows predicts each target
    target_N: Tensor
    supervised_N: Tensor  # weight of each target in the supervised term
    placed: tuple[tuple[Tenant, tuple[Placed, ...]], ...]

    @property
    def tokens(self) -> int:
        """Rows the base computes."""
        return int(self.packed.token_ids_T.numel())


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How work becomes micro-batches."""

    token_budget: int  # of one micro-batch, but for single samples that are longer
    mix_below_tokens: int  # agents with less than this in a step share micro-batches; 0: nobody does
    share_prefixes: bool = True  # off only to be compared with


def pack(
    work: Sequence[tuple[Tenant, Sequence[Portion]]], form: Form, device: torch.device
) -> list[MicroBatch]:
    """The micro-batches of one step: those of agents that mix, then each other agent's own."""
    mixed: list[_Ordered] = []
    own: list[_Ordered] = []
    for tenant, portions in work:
        # beginnings that are shared come next to one another, so that cuts seldom part them
        ordered = sorted(portions, key=lambda portion: portion.sample.prompt_ids)
        tokens = _tokens(ordered, form)
        (mixed if tokens < form.mix_below_tokens else own).append((tenant, ordered))
    done: list[MicroBatch] = []
    for together in [mixed, *([one] for one in own)]:
        done += _fill(together, form, device)
    return done


_Ordered = tuple[Tenant, list[Portion]]
_WHOLE_BELOW = 0.25  # of the budget: so much of a micro-batch is left empty at most for a tenant's sake


def _tokens(portions: Iterable[Portion], form: Form) -> int:
    tree = PrefixTree(share=form.share_prefixes)
    for portion in portions:
        for sequence in _sequences(portion):
            tree.add(sequence)
    return tree.tokens


def _fill(work: Sequence[_Ordered], form: Form, device: torch.device) -> list[MicroBatch]:
    """As few micro-batches as the budget allows, about equally large."""
    pieces = [(tenant, piece) for tenant, portions in work for piece in _pieces(portions, form)]
    drafts = _cut(pieces, form, even_tokens=form.token_budget)
    if len(drafts) > 1:
        drafts = _cut(pieces, form, even_tokens=-(-sum(draft.tokens for draft in drafts) // len(drafts)))
    return [draft.finish(device) for draft in drafts]


def _cut(
    pieces: Iterable[tuple[Tenant, Sequence[Portion]]], form: Form, *, even_tokens: int
) -> list["_Draft"]:
    """Cuts where the budget is spent, and before that where it is nearest to multiples of `even_tokens`."""
    drafts: list[_Draft] = []
    earlier = 0  # tokens of the drafts before the last
    for tenant, piece in pieces:
        draft = drafts[-1] if drafts else _Draft(form)
        cost = draft.cost(tenant, piece)
        over = draft.tokens + cost > form.token_budget
        even = earlier + draft.tokens + cost / 2 > len(drafts) * even_tokens
        if not drafts or (draft.tokens and (over or even)):
            earlier += draft.tokens
            drafts.append(draft := _Draft(form))
        draft.add(tenant, piece)
    return drafts


def _pieces(portions: Sequence[Portion], form: Form) -> Iterator[Sequence[Portion]]:
    """What is not cut: all of a tenant with little, else its answers to one prompt, if the budget allows."""
    if _tokens(portions, form) <= form.token_budget * _WHOLE_BELOW:
        yield portions
        return
    for _, run in groupby(portions, key=lambda portion: portion.sample.prompt_ids):
        together = list(run)
        if _tokens(together, form) <= form.token_budget:
            yield together
        else:
            yield from ([portion] for portion in together)


def _sequences(portion: Portion) -> list[tuple[int, ...]]:
    """What the base reads for each answer: its last token predicts nothing."""
    sample = portion.sample
    return [(*sample.prompt_ids, *answer.token_ids[:-1]) for answer in sample.answers]


class _Draft:
    """A micro-batch that is still being filled."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._tenants: list[tuple[Tenant, PrefixTree, list[Portion]]] = []

    @property
    def tokens(self) -> int:
        return sum(tree.tokens for _, tree, _ in self._tenants)

    def cost(self, tenant: Tenant, piece: Sequence[Portion]) -> int:
        """Tokens the piece would add: never less than it does add."""
        if not self._tenants or self._tenants[-1][0] is not tenant:
            return _tokens(piece, self._form)
        tree = self._tenants[-1][1]
        first, *others = (sequence for portion in piece for sequence in _sequences(portion))
        prompt = len(piece[0].sample.prompt_ids)  # of all: a tenant that is here already comes in such pieces
        shared = prompt if self._form.share_prefixes and prompt >= SHARED_TOKENS_MIN else 0
        return tree.missing(first) + sum(min(tree.missing(one), len(one) - shared) for one in others)

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
        aims = _Aims()
        placed = tuple(
            (tenant, tuple(aims.at(tree, portion) for portion in portions))
            for tenant, tree, portions in self._tenants
        )
        wanted = sorted(set(aims.rows))
        place = {row: index for index, row in enumerate(wanted)}
        return MicroBatch(
            packed=PackedBatch(
                token_ids_T=torch.tensor(layout.token_ids, device=device),
                positions_T=torch.tensor(layout.positions, device=device),
                segments=tuple(layout.segments),
                groups=tuple(groups),
                wanted=wanted,
            ),
            row_N=torch.tensor([place[row] for row in aims.rows], device=device),
            target_N=torch.tensor(aims.targets, device=device),
            supervised_N=torch.tensor(aims.supervised, device=device, dtype=torch.float32),
            placed=placed,
        )


def _group(tenant: Tenant, slot: int, start: int, end: int) -> Group:
    recipe = tenant.recipe
    return Group(slot=slot, start=start, end=end, scale=recipe.scale, targets=frozenset(recipe.targets))


@dataclass(slots=True)
class _Aims:
    """Which row predicts which target, answer after answer."""

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
