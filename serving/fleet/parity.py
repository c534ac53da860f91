"""Checks that a replica serves the trained adapter: compares the engine's log-probabilities with vLLM's.

vLLM may load an adapter without some of its modules, or over another base, and report no error. Probes show
this: vLLM's numbers must be much nearer to the engine's than the adapter's numbers are to the base's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from statistics import fmean

from engine.measurements import Probe
from serving.fleet.replica import Continuation

NOISE_TIMES_MAX = 3.0
"""The largest difference of an adapter, in multiples of the difference of its base on the same replica.

The base shows how coarse the replica's numbers are. Measured: 0.9 to 1.4 for adapters that are loaded whole,
in every number format; 4 and more in bfloat16 with one of seven modules missing; 3000 in float32 with a
single matrix missing.
"""

SHARE_MAX = 0.5
"""The largest difference as a share of the distance between adapter and base, however coarse the numbers."""

ROUND_OFF_NATS = 1e-3
"""A difference that always passes: float32 differs by 1e-5 between implementations, and an adapter that has
taken few steps is near its base."""

BASE_DIFFERENCE_NATS_MAX = 0.1
"""A larger difference means another base. Two number formats of one base differ by some hundredths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Mean absolute differences of log-probabilities, in nats."""

    probes: int
    tokens: int  # of the replies: positions compared, of the adapter
    distance_nats: float  # adapter to base, by the engine
    difference_nats: float  # engine to replica, with the adapter
    base_difference_nats: float  # engine to replica, without it

    @property
    def allowed_nats(self) -> float:
        """The largest difference that passes."""
        coarse = NOISE_TIMES_MAX * self.base_difference_nats
        return max(ROUND_OFF_NATS, min(coarse, SHARE_MAX * self.distance_nats))

    @property
    def same_base(self) -> bool:
        """Whether the replica's base is the one that the adapter was trained on."""
        return self.base_difference_nats <= BASE_DIFFERENCE_NATS_MAX

    @property
    def passed(self) -> bool:
        """Whether the replica may answer with the adapter: it answered every probe, and its numbers are near.

        Every probe gives one position at least: before the first token of the reply the contexts are equal.
        """
        answered = 0 < self.probes <= self.tokens
        return answered and self.same_base and self.difference_nats <= self.allowed_nats

    def numbers(self) -> dict[str, float]:
        """The measured values, for the evidence of a decision."""
        return asdict(self)


def compare(probes: Sequence[Probe], served: Sequence[Continuation], bare: Sequence[Continuation]) -> Parity:
    """Compare the replica's answers with the adapter (`served`) and without it (`bare`) to the probes."""
    with_adapter = [
        position
        for probe, continuation in zip(probes, served, strict=True)
        for position in _compared(probe, continuation, probe.logprobs)
    ]
    without = [
        position
        for probe, continuation in zip(probes, bare, strict=True)
        for position in _compared(probe, continuation, probe.base_logprobs)
    ]
    numbers = [number for position in with_adapter for number in position]
    return Parity(
        probes=len(probes),
        tokens=len(with_adapter),
        distance_nats=_mean(number.distance for number in numbers),
        difference_nats=_mean(number.difference for number in numbers),
        base_difference_nats=_mean(number.difference for position in without for number in position),
    )


def request_of(probe: Probe) -> tuple[Sequence[int], int]:
    """The token ids that the replica is to continue, and how many tokens it is to add."""
    return probe.token_ids[: probe.prompt_tokens], len(probe.reply)


def complaint_about(probes: Sequence[Probe]) -> str | None:
    """Why these probes cannot be compared; None where they can.

    Call it before any replica loads the adapter: an adapter that computes NaN leaves NaN in vLLM's CPU cache,
    which spoils the answers of other agents. This was observed.
    """
    if not any(probe.logprobs for probe in probes):
        return "its manifest holds no probes"
    rows = chain.from_iterable((*probe.logprobs, *probe.base_logprobs) for probe in probes)
    return None if all(map(math.isfinite, chain.from_iterable(rows))) else "its probes are not finite"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Number:
    """One log-probability that engine and replica both know, or can bound, in nats."""

    difference: float  # engine to replica
    distance: float  # adapter to base, by the engine


def _compared(
    probe: Probe, answer: Continuation, expected: Sequence[Sequence[float]]
) -> Iterator[list[_Number]]:
    """The numbers at each token of the reply, up to the first token that the replica chose otherwise.

    After that token the contexts differ. A token that the replica did not name is at most as likely as the
    least likely one that it named.
    """
    rows = zip(probe.likely, expected, probe.logprobs, probe.base_logprobs, strict=True)
    for token, row, chosen, named in zip(probe.reply, rows, answer.token_ids, answer.likely, strict=False):
        least = min(named.values(), default=math.inf)
        position = [
            _Number(difference=abs(number - named.get(candidate, least)), distance=abs(adapter - base))
            for candidate, number, adapter, base in zip(*row, strict=True)
            if candidate in named or number > least
        ]
        if position:
            yield position
        if chosen != token:
            return


def _mean(numbers: Iterator[float]) -> float:
    values = list(numbers)
    return fmean(values) if values else 0.0
