"""Compares what the engine gives sampled tokens with what the replica reported when it sampled them.

The policy term corrects for the difference by importance weights π_champion / π_sampled, cut off at a bound
(truncated importance sampling: Ionides 2008; for engines that differ, Yao et al. 2025). The clipped ratio is
that of the weights being trained to the champion's (decoupled objective: Hilton et al. 2021, 2110.00641).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.packer import Reference
from engine.tokens import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourMeasures:
    """Numbers about the sampled tokens of a lesson. None: there are no such tokens."""

    gap_nats: float | None  # mean |log π_engine − log π_replica| of tokens that the champion sampled
    truncated_share: float | None  # of all sampled tokens: the importance weight was cut off


@torch.no_grad()
def measure_behaviour(
    sampled: Sequence[tuple[Sample, Reference]], *, champion: str, importance_max: float
) -> BehaviourMeasures:
    """Compare sampled replies with the champion's own log-probabilities of their tokens.

    `champion` is the name of the version that the references were read with: only of its own samples the two
    should agree. Samples at other temperatures than 1 have no gap, since the engine reads at 1.
    """
    differences = [
        (
            reference.logprob_N - reference.logprob_N.new_tensor(sample.reply.sampled_logprobs),
            sample.sampled_by == champion,
        )
        for sample, reference in sampled
    ]
    own = [difference_N.abs() for difference_N, is_own in differences if is_own]
    every = [difference_N.exp() > importance_max for difference_N, _ in differences]
    return BehaviourMeasures(
        gap_nats=float(torch.cat(own).mean()) if own else None,
        truncated_share=float(torch.cat(every).float().mean()) if every else None,
    )
