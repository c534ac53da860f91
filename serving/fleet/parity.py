"""Whether a replica serves the adapter that was trained: the engine's log-probabilities against vLLM's.

Some adapters load without complaint and without some of their modules, or over another base. The probe
tells: what vLLM says must be much nearer to the engine's numbers than the adapter is to the base.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from statistics import fmean

from engine.measurements import Probe
from serving.fleet.replica import Continuation

NOISE_TIMES_MAX = 3.0
"""How much further off than its base an adapter may be: the base shows how coarse a replica's numbers are.

Measured: 0.9 to 1.4 where all is well, whatever the number format. With one of seven modules missing 4 and
more in bfloat16; in float32 with a single matrix missing 3000.
"""

SHARE_MAX = 0.5
"""Of the distance between adapter and base: how far off a replica may be, however coarse its numbers."""

ROUND_OFF_NATS = 1e-3
"""Always allowed: float32 differs by 1e-5 between implementations, and a young adapter is near its base."""

BASE_DIFFERENCE_NATS_MAX = 0.1
"""More, and it is another base. Two number formats of one base differ by some hundredths."""


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
        """Whether the replica's base is the one the adapter was trained on; if not, the replica is wrong."""
        return self.base_difference_nats <= BASE_DIFFERENCE_NATS_MAX

    @property
    def passed(self) -> bool:
        """Whether the replica may answer with the adapter: it was asked, answered each probe, and is near.

        A position for each probe is the least: before the first token of a reply the contexts are the same.
        """
        answered = 0 < self.probes <= self.tokens
        return answered and self.same_base and self.difference_nats <= self.allowed_nats

    def numbers(self) -> dict[str, float]:
        """For the evidence."""
        return asdict(self)


def compare(probes: Sequence[Probe], served: Sequence[Continuation], bare: Sequence[Continuation]) -> Parity:
    """What a replica says with the adapter (`served`) and without (`bare`), against the manifest's probes."""
    taught = [
        position
        for probe, continuation in zip(probes, served, strict=True)
        for position in _compared(probe, continuation, probe.logprobs)
    ]
    frozen = [
        position
        for probe, continuation in zip(probes, bare, strict=True)
        for position in _compared(probe, continuation, probe.base_logprobs)
    ]
    numbers = [number for position in taught for number in position]
    return Parity(
        probes=len(probes),
        tokens=len(taught),
        distance_nats=_mean(number.apart for number in numbers),
        difference_nats=_mean(number.off for number in numbers),
        base_difference_nats=_mean(number.off for position in frozen for number in position),
    )


def asked_of(probe: Probe) -> tuple[Sequence[int], int]:
    """The token ids a replica is to go on from, and for how many tokens."""
    return probe.token_ids[: probe.prompt_tokens], len(probe.reply)


def unusable(probes: Sequence[Probe]) -> str | None:
    """Why these probes cannot be compared; None when they can.

    Checked before an adapter is loaded anywhere: one that computes NaN leaves NaN behind in vLLM's CPU
    cache, and other agents' answers are spoilt by it (seen).
    """
    if not any(probe.logprobs for probe in probes):
        return "its manifest holds no probes"
    rows = chain.from_iterable((*probe.logprobs, *probe.base_logprobs) for probe in probes)
    return None if all(map(math.isfinite, chain.from_iterable(rows))) else "its probes are not finite"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Number:
    """One log-probability both sides know something about, in nats."""

    off: float  # engine to replica
    apart: float  # adapter to base, by the engine


def _compared(
    probe: Probe, said: Continuation, expected: Sequence[Sequence[float]]
) -> Iterator[list[_Number]]:
    """The numbers at each token of the reply, up to the first at which the replica went another way.

    From there on contexts differ. A token it did not name is at most as likely as the last one it named.
    """
    rows = zip(probe.likely, expected, probe.logprobs, probe.base_logprobs, strict=True)
    for token, row, spoken, named in zip(probe.reply, rows, said.token_ids, said.likely, strict=False):
        least = min(named.values(), default=math.inf)
        position = [
            _Number(off=abs(number - named.get(one, least)), apart=abs(taught - frozen))
            for one, number, taught, frozen in zip(*row, strict=True)
            if one in named or number > least
        ]
        if position:
            yield position
        if spoken != token:
            return


def _mean(numbers: Iterator[float]) -> float:
    found = list(numbers)
    return fmean(found) if found else 0.0
