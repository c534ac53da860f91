"""Computes the gradients of one micro-batch, and the champion's log-probabilities of the same samples.

The loss terms of all tenants add up to one scalar, for one backward pass; no tenant's rows enter another's
terms.

Shapes: W wanted rows and N target tokens of the micro-batch, D hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.base_model import BaseModel
from engine.losses import logprobs_and_kl, read_targets
from engine.memory import within_memory
from engine.packer import MicroBatch, PackingOptions, Portion, Reference, Tenant, pack
from engine.recipe import Term
from engine.terms import LOSSES, TenantRows, TermLoss
from engine.tokens import Sample


@dataclass(slots=True)
class Signals:
    """Sums over a step of one tenant: the loss, and the size of each term's gradient.

    If the size is zero for a term that has samples, the term had no effect.
    """

    loss: float = 0.0
    gradient_size: dict[Term, float] = field(default_factory=dict)
    clipped_tokens: int = 0
    policy_tokens: int = 0

    def add(self, term: Term, part: TermLoss) -> None:
        """Add a term of one micro-batch."""
        self.loss += float(part.loss.detach())
        self.gradient_size[term] = self.gradient_size.get(term, 0.0) + float(part.gradient_size)
        self.policy_tokens += part.policy_tokens
        self.clipped_tokens += part.clipped_tokens

    def join(self, other: "Signals") -> None:
        """Add the sums of another micro-batch of the same step."""
        self.loss += other.loss
        for term, size in other.gradient_size.items():
            self.gradient_size[term] = self.gradient_size.get(term, 0.0) + size
        self.clipped_tokens += other.clipped_tokens
        self.policy_tokens += other.policy_tokens


def add_gradients(base: BaseModel, batch: MicroBatch) -> dict[int, Signals]:
    """Add the gradients of every tenant in the micro-batch to the arena. Returns signals by slot."""
    loss, signals = sum_of_terms(base, batch, base.hidden(batch.packed))
    loss.backward()  # type: ignore[no-untyped-call]
    return signals


def sum_of_terms(base: BaseModel, batch: MicroBatch, hidden_WD: Tensor) -> tuple[Tensor, dict[int, Signals]]:
    """The loss of all tenants in the micro-batch, from its last hidden states, and signals by slot."""
    hidden_ND = hidden_WD.index_select(0, batch.row_N)
    anchors = [
        placed
        for _, samples in batch.placed
        for placed in samples
        if placed.portion.coefficient(Term.KL) > 0.0
    ]
    logprob_N, kl_N = logprobs_and_kl(
        hidden_ND,
        base.head_VD,
        batch.target_N,
        torch.cat(
            [hidden_ND[:0].detach(), *(anchor.portion.references[0].kept_hidden for anchor in anchors)]
        ),
        [row for anchor in anchors for row in range(*anchor.ranges[0])],
    )
    signals: dict[int, Signals] = {}
    total = torch.zeros((), device=base.device)
    for tenant, placed in batch.placed:
        assert tenant.slot is not None, "the base alone is not trained"
        rows = TenantRows(
            tenant=tenant,
            placed=placed,
            batch=batch,
            logprob_N=logprob_N,
            kl_N=kl_N,
        )
        tenant_signals = signals.setdefault(tenant.slot, Signals())
        for term, loss_of in LOSSES.items():
            if rows.entering(term):
                part = loss_of(rows)
                tenant_signals.add(term, part)
                total = total + part.loss
    return total, signals


def read_references(
    base: BaseModel,
    tenant: Tenant,
    samples: Sequence[Sample],
    *,
    token_budget: int,
    hidden_too: Sequence[bool],
) -> list[tuple[Reference, ...]]:
    """Log-probabilities of each sample's answers under the tenant's present weights.

    With hidden states for the samples whose `hidden_too` is true. Raises `OutOfMemory`.
    """
    references, _ = within_memory(
        lambda tokens: _read(base, tenant, samples, token_budget=tokens, hidden_too=hidden_too),
        token_budget=token_budget,
    )
    return references


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
    references: dict[int, tuple[Reference, ...]] = {}
    hidden_by_portion = {
        id(portion): keeps_hidden for portion, keeps_hidden in zip(portions, hidden_too, strict=True)
    }
    for batch in pack(
        [(tenant, portions)], PackingOptions(token_budget=token_budget, mix_below_tokens=0), base.device
    ):
        hidden_ND = base.hidden(batch.packed).index_select(0, batch.row_N)
        logprob_N, top_N = read_targets(hidden_ND, base.head_VD, batch.target_N)
        for placed in batch.placed[0][1]:
            keeps_hidden = hidden_by_portion[id(placed.portion)]
            references[id(placed.portion)] = tuple(
                Reference(
                    logprob_N=logprob_N[start:end].clone(),
                    top_N=top_N[start:end].clone(),
                    hidden_ND=hidden_ND[start:end].clone() if keeps_hidden else None,
                )
                for start, end in placed.ranges
            )
    return [references[id(portion)] for portion in portions]
