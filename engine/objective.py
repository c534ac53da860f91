"""What one micro-batch adds to each tenant's gradient, and what the champion made of the same samples.

All loss terms of all tenants are one scalar for one backward; no tenant's rows enter another's terms.

Shapes: N target tokens of the micro-batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.base_model import BaseModel
from engine.losses import (
    forward_kl,
    policy_loss,
    preference_loss,
    read_targets,
    supervised_loss,
    target_logprobs,
)
from engine.memory import within_memory
from engine.packer import Form, MicroBatch, Placed, Portion, Reference, Tenant, pack
from engine.recipe import Recipe
from engine.tokens import Sample


@dataclass(slots=True)
class Signals:
    """Sums over a step of one tenant: the loss, and how hard each term pulled. A term that should act and
    shows zero has silently done nothing."""

    loss: float = 0.0
    pull: dict[str, float] = field(
        default_factory=dict
    )  # term -> sum of coefficient x |gradient by log-probability|
    clipped_tokens: int = 0
    policy_tokens: int = 0

    def add(self, term: str, loss: Tensor, pull: Tensor) -> Tensor:
        """Notes a term and hands its loss on."""
        self.loss += float(loss.detach())
        self.pull[term] = self.pull.get(term, 0.0) + float(pull)
        return loss

    def join(self, other: "Signals") -> None:
        """Another micro-batch of the same step."""
        self.loss += other.loss
        for term, pull in other.pull.items():
            self.pull[term] = self.pull.get(term, 0.0) + pull
        self.clipped_tokens += other.clipped_tokens
        self.policy_tokens += other.policy_tokens


def add_gradients(base: BaseModel, batch: MicroBatch) -> dict[int, Signals]:
    """The gradients of every tenant in the micro-batch are added to the arena. Returns signals by slot."""
    hidden_ND = base.hidden(batch.packed).index_select(0, batch.row_N)
    logprob_N = target_logprobs(hidden_ND, base.head_VD, batch.target_N)
    signals: dict[int, Signals] = {}
    total = torch.zeros((), device=base.device)
    for tenant, placed in batch.placed:
        assert tenant.slot is not None, "the bare base learns nothing"
        noted = signals.setdefault(tenant.slot, Signals())
        start, end = placed[0].ranges[0][0], placed[-1].ranges[-1][1]
        weight_N, own_N = batch.supervised_N[start:end], logprob_N[start:end]
        if bool(weight_N.any()):
            with torch.no_grad():
                pull = (weight_N * (1.0 - own_N.exp())).sum()
            total = total + noted.add("supervised", supervised_loss(own_N, weight_N), pull)
        total = total + _preferences(logprob_N, placed, tenant.recipe, noted)
        total = total + _policies(logprob_N, placed, tenant.recipe, noted)
        total = total + _anchors(hidden_ND, base.head_VD, placed, noted)
    total.backward()  # type: ignore[no-untyped-call]
    return signals


def read_references(
    base: BaseModel,
    tenant: Tenant,
    samples: Sequence[Sample],
    *,
    token_budget: int,
    hidden_too: Sequence[bool],
) -> list[tuple[Reference, ...]]:
    """What the tenant's present weights make of each sample's answers; keeps hidden states where asked.

    Raises `OutOfMemory`.
    """
    found, _ = within_memory(
        lambda tokens: _read(base, tenant, samples, token_budget=tokens, hidden_too=hidden_too),
        token_budget=token_budget,
    )
    return found


@torch.no_grad()
def _read(
    base: BaseModel,
    tenant: Tenant,
    samples: Sequence[Sample],
    *,
    token_budget: int,
    hidden_too: Sequence[bool],
) -> list[tuple[Reference, ...]]:
    portions = [Portion(sample=sample) for sample in samples]
    found: dict[int, tuple[Reference, ...]] = {}
    keeps = {id(portion): keep for portion, keep in zip(portions, hidden_too, strict=True)}
    for batch in pack([(tenant, portions)], Form(token_budget=token_budget, mix_below_tokens=0), base.device):
        hidden_ND = base.hidden(batch.packed).index_select(0, batch.row_N)
        logprob_N, top_N = read_targets(hidden_ND, base.head_VD, batch.target_N)
        for placed in batch.placed[0][1]:
            keep = keeps[id(placed.portion)]
            found[id(placed.portion)] = tuple(
                Reference(
                    logprob_N=logprob_N[start:end].clone(),
                    top_N=top_N[start:end].clone(),
                    hidden_ND=hidden_ND[start:end].clone() if keep else None,
                )
                for start, end in placed.ranges
            )
    return [found[id(portion)] for portion in portions]


def kept_hidden(reference: Reference) -> Tensor:
    """Its hidden states, which `read_references` was asked to keep."""
    assert reference.hidden_ND is not None, "read_references was asked to keep it"
    return reference.hidden_ND


def _preferences(logprob_N: Tensor, placed: Sequence[Placed], recipe: Recipe, noted: Signals) -> Tensor:
    pairs = [one for one in placed if one.portion.preference > 0.0]
    if not pairs:
        return logprob_N.new_zeros(())
    gains = [
        torch.stack(
            [
                (logprob_N[slice(*one.ranges[answer])] - one.portion.references[answer].logprob_N).sum()
                for one in pairs
            ]
        )
        for answer in (0, 1)
    ]
    weight_P = logprob_N.new_tensor([one.portion.preference for one in pairs])
    beta = recipe.preference_beta
    with torch.no_grad():
        pull = (weight_P * beta * torch.sigmoid(-beta * (gains[0] - gains[1]))).sum()
    return noted.add("preference", preference_loss(gains[0], gains[1], weight_P, beta=beta), pull)


def _policies(logprob_N: Tensor, placed: Sequence[Placed], recipe: Recipe, noted: Signals) -> Tensor:
    chosen = [one for one in placed if one.portion.policy > 0.0]
    if not chosen:
        return logprob_N.new_zeros(())
    now_N = torch.cat([logprob_N[slice(*one.ranges[0])] for one in chosen])
    champion_N = torch.cat([one.portion.references[0].logprob_N for one in chosen])
    replies = [(one.portion, one.portion.sample.reply) for one in chosen]
    spoken_N, weight_N, advantage_N = (
        logprob_N.new_tensor(values)
        for values in (
            [value for _, reply in replies for value in reply.spoken_logprobs],
            [portion.policy * value for portion, reply in replies for value in reply.weights],
            [portion.sample.advantage or 0.0 for portion, reply in replies for _ in reply.token_ids],
        )
    )
    importance_N = (champion_N - spoken_N).exp().clamp_max(recipe.importance_max)
    loss, clipped_N = policy_loss(
        now_N,
        champion_N,
        importance_N,
        advantage_N,
        weight_N,
        clip_low=recipe.policy_clip_low,
        clip_high=recipe.policy_clip_high,
    )
    with torch.no_grad():
        ratio_N = (now_N - champion_N).exp()
        pull = (weight_N * importance_N * ratio_N * advantage_N.abs())[~clipped_N].sum()
    noted.clipped_tokens += int(clipped_N.sum())
    noted.policy_tokens += len(clipped_N)
    return noted.add("policy", loss, pull)


def _anchors(hidden_ND: Tensor, head_VD: Tensor, placed: Sequence[Placed], noted: Signals) -> Tensor:
    held = [one for one in placed if one.portion.anchor > 0.0]
    if not held:
        return hidden_ND.new_zeros((), dtype=torch.float32)
    now_ND = torch.cat([hidden_ND[slice(*one.ranges[0])] for one in held])
    champion_ND = torch.cat([kept_hidden(one.portion.references[0]) for one in held])
    weights = [
        one.portion.anchor / len(one.portion.sample.reply.token_ids)
        for one in held
        for _ in one.portion.sample.reply.token_ids
    ]
    loss = (
        forward_kl(now_ND, champion_ND, head_VD) * hidden_ND.new_tensor(weights, dtype=torch.float32)
    ).sum()
    return noted.add("kl", loss, loss.detach())
