"""The terms of the loss: each is a function of one tenant's rows in one micro-batch.

Shapes: N target tokens, P pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.losses import policy_loss, preference_loss, supervised_loss
from engine.packer import MicroBatch, Placed, Tenant
from engine.recipe import Term


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TenantRows:
    """One tenant's part of a micro-batch."""

    tenant: Tenant
    placed: Sequence[Placed]
    batch: MicroBatch
    logprob_N: Tensor  # of the whole micro-batch; `placed` says which rows are the tenant's
    kl_N: Tensor  # from the champion; 0 for samples that do not enter the term

    def entering(self, term: Term) -> list[Placed]:
        """The tenant's samples that enter the term."""
        return [placed for placed in self.placed if placed.portion.coefficient(term) > 0.0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TermLoss:
    """One term of one tenant in one micro-batch."""

    loss: Tensor  # coefficients included
    gradient_size: Tensor  # sum of coefficient x |gradient by log-probability|
    policy_tokens: int = 0
    clipped_tokens: int = 0


def _supervised(rows: TenantRows) -> TermLoss:
    start, end = rows.placed[0].ranges[0][0], rows.placed[-1].ranges[-1][1]
    weight_N, logprob_N = rows.batch.supervised_N[start:end], rows.logprob_N[start:end]
    with torch.no_grad():
        gradient_size = (weight_N * (1.0 - logprob_N.exp())).sum()
    return TermLoss(loss=supervised_loss(logprob_N, weight_N), gradient_size=gradient_size)


def _preference(rows: TenantRows) -> TermLoss:
    pairs, logprob_N = rows.entering(Term.PREFERENCE), rows.logprob_N
    gains = [
        torch.stack(
            [
                (logprob_N[slice(*pair.ranges[answer])] - pair.portion.references[answer].logprob_N).sum()
                for pair in pairs
            ]
        )
        for answer in (0, 1)
    ]
    weight_P = logprob_N.new_tensor([pair.portion.coefficient(Term.PREFERENCE) for pair in pairs])
    beta = rows.tenant.recipe.preference_beta
    with torch.no_grad():
        gradient_size = (weight_P * beta * torch.sigmoid(-beta * (gains[0] - gains[1]))).sum()
    return TermLoss(
        loss=preference_loss(gains[0], gains[1], weight_P, beta=beta), gradient_size=gradient_size
    )


def _policy(rows: TenantRows) -> TermLoss:
    samples, recipe = rows.entering(Term.POLICY), rows.tenant.recipe
    now_N = torch.cat([rows.logprob_N[slice(*placed.ranges[0])] for placed in samples])
    champion_N = torch.cat([placed.portion.references[0].logprob_N for placed in samples])
    replies = [(placed.portion, placed.portion.sample.reply) for placed in samples]
    sampled_N, weight_N, advantage_N = (
        now_N.new_tensor(values)
        for values in (
            [value for _, reply in replies for value in reply.sampled_logprobs],
            [
                portion.coefficient(Term.POLICY) * value
                for portion, reply in replies
                for value in reply.weights
            ],
            [portion.sample.advantage or 0.0 for portion, reply in replies for _ in reply.token_ids],
        )
    )
    importance_N = (champion_N - sampled_N).exp().clamp_max(recipe.importance_max)
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
        gradient_size = (weight_N * importance_N * ratio_N * advantage_N.abs())[~clipped_N].sum()
    return TermLoss(
        loss=loss,
        gradient_size=gradient_size,
        policy_tokens=len(clipped_N),
        clipped_tokens=int(clipped_N.sum()),
    )


def _kl(rows: TenantRows) -> TermLoss:
    anchors = rows.entering(Term.KL)
    kl_N = torch.cat([rows.kl_N[slice(*placed.ranges[0])] for placed in anchors])
    weights = [
        placed.portion.coefficient(Term.KL) / len(placed.portion.sample.reply.token_ids)
        for placed in anchors
        for _ in placed.portion.sample.reply.token_ids
    ]
    loss = (kl_N * kl_N.new_tensor(weights)).sum()
    return TermLoss(loss=loss, gradient_size=loss.detach())


LOSSES: Mapping[Term, Callable[[TenantRows], TermLoss]] = {
    Term.SUPERVISED: _supervised,
    Term.PREFERENCE: _preference,
    Term.POLICY: _policy,
    Term.KL: _kl,
}
"""The function of each term, in the order in which they are summed."""
