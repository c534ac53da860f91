"""Several agents' samples laid end to end, agent by agent, into passes of at most a budget of tokens.

Order and cuts depend on the samples and the form alone, so a pass can be repeated. An agent that is not
mixed has micro-batches of its own, and nothing about them depends on who else is learning.

Shapes: T packed tokens, N target tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.attention import Segment
from engine.base_model import Pass
from engine.linear import Group
from engine.recipe import Recipe
from engine.tokens import Answer, Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """What the champion makes of one answer, read before the first step."""

    logprob_N: Tensor
    top_N: Tensor  # bool: the target was its likeliest token
    hidden_ND: Tensor | None = None  # kept where a KL term needs the whole distribution


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portion:
    """A sample's part in one step: the coefficient of each loss term, normaliser included."""

    sample: Sample
    references: tuple[Reference, ...] = ()  # one an answer, where a term needs them
    supervised: float = 0.0
    preference: float = 0.0
    policy: float = 0.0
    anchor: float = 0.0


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

    packed: Pass
    row_N: Tensor  # which packed row predicts each target
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
    bundled = [
        (tenant, _bundles(portions, form.token_budget, form.share_prefixes)) for tenant, portions in work
    ]
    mixed: list[_Bundled] = []
    own: list[_Bundled] = []
    for tenant, bundles in bundled:
        tokens = sum(_cost(bundle, form.share_prefixes) for bundle in bundles)
        (mixed if tokens < form.mix_below_tokens else own).append((tenant, bundles))
    done: list[MicroBatch] = []
    for together in [mixed, *([one] for one in own)]:
        done += _fill(together, form, device)
    return done


_Bundled = tuple[Tenant, list[list[Portion]]]


def _fill(work: Sequence[_Bundled], form: Form, device: torch.device) -> list[MicroBatch]:
    done: list[MicroBatch] = []
    draft = _Draft()
    for tenant, bundles in work:
        for bundle in bundles:
            cost = _cost(bundle, form.share_prefixes)
            if draft.token_ids and len(draft.token_ids) + cost > form.token_budget:
                done.append(draft.finish(device))
                draft = _Draft()
            draft.add(tenant, bundle, form.share_prefixes)
    if draft.token_ids:
        done.append(draft.finish(device))
    return done


def _bundles(portions: Iterable[Portion], token_budget: int, share: bool) -> list[list[Portion]]:
    """Portions over one prompt together, in order of arrival, while they fit the budget; else each alone."""
    if not share:
        return [[portion] for portion in portions]
    bundles: list[list[Portion]] = []
    open_by_prompt: dict[tuple[int, ...], list[Portion]] = {}
    for portion in portions:
        bundle = open_by_prompt.get(portion.sample.prompt_ids)
        if bundle is None or _cost([*bundle, portion], share) > token_budget:
            bundle = []
            bundles.append(bundle)
            open_by_prompt[portion.sample.prompt_ids] = bundle
        bundle.append(portion)
    return bundles


def _cost(bundle: Sequence[Portion], share: bool) -> int:
    """Tokens a bundle takes: prompts, and answers but for their last token, which predicts nothing."""
    answers = [len(answer.token_ids) - 1 for portion in bundle for answer in portion.sample.answers]
    return len(bundle[0].sample.prompt_ids) * (1 if share else len(answers)) + sum(answers)


@dataclass(slots=True)
class _Draft:
    token_ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    supervised: list[float] = field(default_factory=list)
    tenants: list[tuple[Tenant, int, list[Placed]]] = field(
        default_factory=list
    )  # tenant, first row, its portions

    def add(self, tenant: Tenant, bundle: Sequence[Portion], share: bool) -> None:
        if not self.tenants or self.tenants[-1][0] is not tenant:
            self.tenants.append((tenant, len(self.token_ids), []))
        answers = [(portion, answer) for portion in bundle for answer in portion.sample.answers]
        prompt_ids = bundle[0].sample.prompt_ids
        shared = share and len(answers) > 1
        if shared:
            prompt_start, prompt_segment = len(self.token_ids), len(self.segments)
            self._lay(prompt_ids, position=0)
        ranges: dict[int, list[tuple[int, int]]] = {}
        for portion, answer in answers:
            if shared:
                start = len(self.token_ids)
                if len(answer.token_ids) > 1:
                    self._lay(answer.token_ids[:-1], position=len(prompt_ids), prefix=(prompt_segment,))
                rows = [prompt_start + len(prompt_ids) - 1, *range(start, len(self.token_ids))]
            else:
                first = len(self.token_ids) + len(prompt_ids) - 1
                self._lay((*prompt_ids, *answer.token_ids[:-1]), position=0)
                rows = list(range(first, len(self.token_ids)))
            ranges.setdefault(id(portion), []).append(self._aim(rows, portion, answer))
        for portion in bundle:
            self.tenants[-1][2].append(Placed(portion=portion, ranges=tuple(ranges[id(portion)])))

    def finish(self, device: torch.device) -> MicroBatch:
        starts = [start for _, start, _ in self.tenants]
        groups = tuple(
            Group(
                slot=tenant.slot,
                start=start,
                end=end,
                scale=tenant.recipe.scale,
                targets=frozenset(tenant.recipe.targets),
            )
            for (tenant, start, _), end in zip(self.tenants, [*starts[1:], len(self.token_ids)], strict=True)
            if tenant.slot is not None
        )
        return MicroBatch(
            packed=Pass(
                token_ids_T=torch.tensor(self.token_ids, device=device),
                positions_T=torch.tensor(self.positions, device=device),
                segments=tuple(self.segments),
                groups=groups,
            ),
            row_N=torch.tensor(self.rows, device=device),
            target_N=torch.tensor(self.targets, device=device),
            supervised_N=torch.tensor(self.supervised, device=device, dtype=torch.float32),
            placed=tuple((tenant, tuple(placed)) for tenant, _, placed in self.tenants),
        )

    def _lay(self, token_ids: Sequence[int], *, position: int, prefix: tuple[int, ...] = ()) -> None:
        self.token_ids.extend(token_ids)
        self.positions.extend(range(position, position + len(token_ids)))
        self.segments.append(Segment(len(token_ids), prefix))

    def _aim(self, rows: Sequence[int], portion: Portion, answer: Answer) -> tuple[int, int]:
        start = len(self.targets)
        self.rows.extend(rows)
        self.targets.extend(answer.token_ids)
        weight = portion.supervised if answer is portion.sample.reply else 0.0
        self.supervised.extend(weight * value for value in answer.weights)
        return start, len(self.targets)
