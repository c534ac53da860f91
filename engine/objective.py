"""What one micro-batch adds to each tenant's gradient, and what the champion made of the same samples.

All loss terms of all tenants are one scalar for one backward; no tenant's rows enter another's terms.

Shapes: N target tokens of the micro-batch, D hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from engine.base_model import BaseModel
from engine.losses import read_targets, target_logprobs
from engine.memory import within_memory
from engine.packer import Form, MicroBatch, Portion, Reference, Tenant, pack
from engine.recipe import Term
from engine.terms import LOSSES, TenantRows, TermLoss
from engine.tokens import Sample


@dataclass(slots=True)
class Signals:
    """Sums over a step of one tenant: the loss, and how hard each term pulled. A term that should act and
    shows zero has silently done nothing."""

    loss: float = 0.0
    pull: dict[Term, float] = field(default_factory=dict)
    clipped_tokens: int = 0
    policy_tokens: int = 0

    def add(self, term: Term, part: TermLoss) -> None:
        """Notes a term of one micro-batch."""
        self.loss += float(part.loss.detach())
        self.pull[term] = self.pull.get(term, 0.0) + float(part.pull)
        self.policy_tokens += part.policy_tokens
        self.clipped_tokens += part.clipped_tokens

    def join(self, other: "Signals") -> None:
        """Adds another micro-batch of the same step."""
        self.loss += other.loss
        for term, pull in other.pull.items():
            self.pull[term] = self.pull.get(term, 0.0) + pull
        self.clipped_tokens += other.clipped_tokens
        self.policy_tokens += other.policy_tokens


def add_gradients(base: BaseModel, batch: MicroBatch) -> dict[int, Signals]:
    """Adds the gradients of every tenant in the micro-batch to the arena. Returns signals by slot."""
    hidden_ND = base.hidden(batch.packed).index_select(0, batch.row_N)
    logprob_N = target_logprobs(hidden_ND, base.head_VD, batch.target_N)
    signals: dict[int, Signals] = {}
    total = torch.zeros((), device=base.device)
    for tenant, placed in batch.placed:
        assert tenant.slot is not None, "the bare base learns nothing"
        rows = TenantRows(
            tenant=tenant,
            placed=placed,
            batch=batch,
            hidden_ND=hidden_ND,
            logprob_N=logprob_N,
            head_VD=base.head_VD,
        )
        noted = signals.setdefault(tenant.slot, Signals())
        for term, loss_of in LOSSES.items():
            if rows.entering(term):
                part = loss_of(rows)
                noted.add(term, part)
                total = total + part.loss
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
