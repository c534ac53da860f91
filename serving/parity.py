"""Whether a replica serves the adapter that was trained: the engine's log-probabilities against vLLM's.

Some adapters load without complaint and without some of their modules, or over another base. The probe
tells: what vLLM says must be much nearer to the engine's numbers than the adapter is to the base.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

SHARE_MAX = 0.25
"""Of the distance between adapter and base: how far off a replica may be."""

ROUND_OFF_NATS = 1e-3
"""Always allowed: float32 differs by 3e-5 a token between implementations, and a young adapter is near."""

BASE_DIFFERENCE_NATS_MAX = 0.1
"""More, and it is another base. Two number formats of one base differ by some hundredths."""

Scores = Sequence[Sequence[float]]
"""For each probe, the log-probabilities (nats) of all its tokens but the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Mean absolute differences a token, in nats."""

    tokens: int
    distance_nats: float  # adapter to base, by the engine
    difference_nats: float  # engine to replica, with the adapter
    base_difference_nats: float  # engine to replica, without it

    @property
    def allowed_nats(self) -> float:
        """The largest difference that passes."""
        return max(SHARE_MAX * self.distance_nats, ROUND_OFF_NATS)

    @property
    def same_base(self) -> bool:
        """Whether the replica's base is the one the adapter was trained on; if not, the replica is wrong."""
        return self.base_difference_nats <= BASE_DIFFERENCE_NATS_MAX

    @property
    def passed(self) -> bool:
        """Whether the replica may answer with the adapter."""
        return self.tokens > 0 and self.same_base and self.difference_nats <= self.allowed_nats

    def numbers(self) -> dict[str, float]:
        """For the evidence."""
        return asdict(self)


def compare(probes: Sequence[Mapping[str, Any]], served: Scores, bare: Scores) -> Parity:
    """What a replica says with the adapter (`served`) and without (`bare`), against the manifest's probes.

    A probe is a prompt and a reply; the engine wrote down the reply's tokens, which are the last ones.
    """
    trained = [probe["logprobs"] for probe in probes]
    frozen = [probe["base_logprobs"] for probe in probes]
    served, bare = _replies(served, trained), _replies(bare, frozen)
    return Parity(
        tokens=sum(map(len, trained)),
        distance_nats=_mean_difference(trained, frozen),
        difference_nats=_mean_difference(trained, served),
        base_difference_nats=_mean_difference(frozen, bare),
    )


def unusable(probes: Sequence[Mapping[str, Any]]) -> str | None:
    """Why these probes cannot be compared; None when they can.

    Checked before an adapter is loaded anywhere: one that computes NaN leaves NaN behind in vLLM's CPU
    cache, and other agents' answers are spoilt by it (seen).
    """
    if not any(probe["logprobs"] for probe in probes):
        return "its manifest holds no probes"
    numbers = chain.from_iterable((*probe["logprobs"], *probe["base_logprobs"]) for probe in probes)
    return None if all(map(math.isfinite, numbers)) else "its probes are not finite"


def _replies(scores: Scores, replies: Scores) -> Scores:
    return [one[len(one) - len(reply) :] for one, reply in zip(scores, replies, strict=True)]


def _mean_difference(left: Scores, right: Scores) -> float:
    pairs = [pair for one, other in zip(left, right, strict=True) for pair in zip(one, other, strict=True)]
    return sum(abs(one - other) for one, other in pairs) / max(1, len(pairs))
