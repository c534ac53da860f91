"""Probes: what a replica must say if it serves the adapter that was trained, over the base it was trained on.

At the first tokens of some replies, how likely the likeliest tokens are. Not of the reply alone: what was
learned well stays certain with half of the adapter missing; what comes second and third moves (measured).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engine.base_model import BaseModel
from engine.measurements import Probe
from engine.objective import read_references
from engine.packer import Tenant
from engine.tokens import Sample, TargetTokens
from rewards.episode import Part

_PROBES_MAX = 6
_PROBES_NEW_MAX = 4
_REPLY_TOKENS_MAX = 8
_LIKELY = 5  # of each model's likeliest tokens; vLLM says 20 at most

_DECIMALS = 6  # float32 differs by more between two implementations


@torch.no_grad()
def probes_of(
    base: BaseModel, tenant: Tenant, samples: Sequence[Sample], *, token_budget: int
) -> tuple[Probe, ...]:
    """A few replies and what adapter and bare base make of their first tokens, for the manifest."""
    chosen = [_beginning(sample) for sample in _telling(samples)]
    taught, bare = (
        [_logprobs(base, found[0].hidden_ND) for found in read]
        for read in (
            read_references(base, one, chosen, token_budget=token_budget, hidden_too=[True] * len(chosen))
            for one in (tenant, Tenant(slot=None, recipe=tenant.recipe))
        )
    )
    return tuple(_probe(*parts) for parts in zip(chosen, taught, bare, strict=True))


def _telling(samples: Sequence[Sample]) -> list[Sample]:
    """What shows best whether an adapter and its base are the right ones.

    First of all replies it was newly taught: it says them, its base does not. Then some others from all over
    the lesson, which the base is likelier to say too.
    """
    new = [sample for sample in samples if sample.part is Part.NEW and (sample.advantage or 0.0) >= 0.0]
    known = {id(sample) for sample in new}
    others = [sample for sample in samples if id(sample) not in known and sample.part is not Part.DEV]
    first = _spread(new, _PROBES_NEW_MAX)
    return [*first, *_spread(others, _PROBES_MAX - len(first))]


def _spread(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """At most `count` samples from all over."""
    return samples[:: max(1, -(-len(samples) // count))]


def _beginning(sample: Sample) -> Sample:
    """The reply's first tokens, every one a target."""
    token_ids = sample.reply.token_ids[:_REPLY_TOKENS_MAX]
    reply = TargetTokens(token_ids=token_ids, weights=(1.0 / len(token_ids),) * len(token_ids))
    return replace(sample, reply=reply, rejected=None)


def _logprobs(base: BaseModel, hidden_ND: Tensor | None) -> Tensor:
    assert hidden_ND is not None, "asked for"
    return (hidden_ND @ base.head_VD.t()).float().log_softmax(-1)


def _probe(sample: Sample, taught_NV: Tensor, bare_NV: Tensor) -> Probe:
    either = torch.cat([logprob_NV.topk(_LIKELY).indices for logprob_NV in (taught_NV, bare_NV)], dim=1)
    likely = tuple(tuple(sorted(set(row))) for row in either.tolist())
    return Probe(
        token_ids=(*sample.prompt_ids, *sample.reply.token_ids),
        prompt_tokens=len(sample.prompt_ids),
        likely=likely,
        logprobs=_rounded(taught_NV, likely),
        base_logprobs=_rounded(bare_NV, likely),
    )


def _rounded(logprob_NV: Tensor, likely: Sequence[Sequence[int]]) -> tuple[tuple[float, ...], ...]:
    """The log-probabilities of the likely tokens, row by row."""
    return tuple(
        tuple(round(value, _DECIMALS) for value in row_V[list(token_ids)].tolist())
        for row_V, token_ids in zip(logprob_NV, likely, strict=True)
    )
