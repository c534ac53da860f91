"""Makes probes: log-probabilities that a replica must give if it serves the trained adapter over its base.

A probe has the likeliest tokens at the first tokens of a reply. The reply's own tokens are not enough: a
reply that was learned well stays certain even if half of the adapter is missing; the second and third
likeliest tokens change (measured).
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
    """A few replies with log-probabilities of adapter and base at their first tokens, for the manifest."""
    chosen = [_beginning(sample) for sample in _choose_samples(samples)]
    adapter, base_alone = (
        [_logprobs(base, references[0].hidden_ND) for references in references_of_samples]
        for references_of_samples in (
            read_references(
                base, model_tenant, chosen, token_budget=token_budget, hidden_too=[True] * len(chosen)
            )
            for model_tenant in (tenant, Tenant(slot=None, recipe=tenant.recipe))
        )
    )
    return tuple(_probe(*parts) for parts in zip(chosen, adapter, base_alone, strict=True))


def _choose_samples(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that best distinguish an adapter and its base from others.

    First newly taught replies: the adapter gives them, the base does not. Then other samples, evenly spaced
    over the lesson, whose replies the base is likelier to give too.
    """
    new = [sample for sample in samples if sample.part is Part.NEW and (sample.advantage or 0.0) >= 0.0]
    new_ids = {id(sample) for sample in new}
    others = [sample for sample in samples if id(sample) not in new_ids and sample.part is not Part.DEV]
    first = _spread(new, _PROBES_NEW_MAX)
    return [*first, *_spread(others, _PROBES_MAX - len(first))]


def _spread(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """At most `count` of the samples, evenly spaced."""
    return samples[:: max(1, -(-len(samples) // count))]


def _beginning(sample: Sample) -> Sample:
    """The reply's first tokens, every one a target."""
    token_ids = sample.reply.token_ids[:_REPLY_TOKENS_MAX]
    reply = TargetTokens(token_ids=token_ids, weights=(1.0 / len(token_ids),) * len(token_ids))
    return replace(sample, reply=reply, rejected=None)


def _logprobs(base: BaseModel, hidden_ND: Tensor | None) -> Tensor:
    assert hidden_ND is not None, "read with hidden_too"
    return (hidden_ND @ base.head_VD.t()).float().log_softmax(-1)


def _probe(sample: Sample, adapter_NV: Tensor, base_NV: Tensor) -> Probe:
    token_ids_NL = torch.cat(
        [logprob_NV.topk(_LIKELY).indices for logprob_NV in (adapter_NV, base_NV)], dim=1
    )
    likely = tuple(tuple(sorted(set(row))) for row in token_ids_NL.tolist())
    return Probe(
        token_ids=(*sample.prompt_ids, *sample.reply.token_ids),
        prompt_tokens=len(sample.prompt_ids),
        likely=likely,
        logprobs=_rounded(adapter_NV, likely),
        base_logprobs=_rounded(base_NV, likely),
    )


def _rounded(logprob_NV: Tensor, likely: Sequence[Sequence[int]]) -> tuple[tuple[float, ...], ...]:
    """The log-probabilities of the likely tokens, row by row."""
    return tuple(
        tuple(round(value, _DECIMALS) for value in row_V[list(token_ids)].tolist())
        for row_V, token_ids in zip(logprob_NV, likely, strict=True)
    )
