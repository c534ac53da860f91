"""Measures how many bad canaries are withdrawn, how many good ones, and after how many conversations.

Simulated conversations go through the real routing and the real decisions. A bad canary is corrected in 15 %
of its conversations and the champion in 5 %; a good one is corrected as often as the champion. Everything
else is alike. Each finished stream is written to a journal; a run that was broken off goes on from there.
"""

import argparse
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

from bench.commit import commit
from ledger.events import Signal
from ledger.versions.routing import is_in_share
from serving.canary.sequential_test import StepCounts
from serving.canary.steps import SHARES, CanaryOptions, CanaryRuling, Move, next_share, rule

BAD, GOOD = "bad", "good"
CORRECTED = {BAD: 0.15, GOOD: 0.05}  # of the canary's conversations, by kind of canary
RATES = {
    Signal.CORRECTION: 0.05,
    Signal.INTERVENTION: 0.01,
    Signal.OUTCOME: 0.02,
    Signal.ERROR: 0.002,
    Signal.INVALID_TOOL_CALL: 0.005,
    Signal.LENGTH: 0.02,
    Signal.REFUSAL: 0.01,
}
CONVERSATIONS_PER_S = 1.0
LOOK_S = 10.0
OPTIONS = CanaryOptions(share=SHARES[0], s_max=1800.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One canary from its first conversation to its end."""

    kind: str  # bad, good
    seed: int
    withdrawn: bool
    conversations: int  # that the canary had answered by then
    share: float  # of the step in which it ended
    reason: str


@dataclass(slots=True)
class SimulatedStep:
    """One step of a canary: its share, its conversations, and those that showed a signal, by arm."""

    share: float
    conversations: int = 0
    signals: Counter[tuple[Signal, str]] = field(default_factory=Counter)

    def counts(self, signal: Signal) -> StepCounts:
        """What the test compares."""
        canary, champion = self.signals[signal, "canary"], self.signals[signal, "champion"]
        return StepCounts(share=self.share, canary=canary, champion=champion)


def simulate(kind: str, seed: int) -> Stream:
    """Conversations arrive at one a second until the canary is withdrawn or has passed its last step."""
    draw = random.Random(f"{kind} {seed}")
    version = f"v{seed}-{draw.getrandbits(24):06x}"
    steps = [SimulatedStep(SHARES[0])]
    while True:
        ruling = _play_step(kind, steps, version, draw)
        following = next_share(steps[-1].share)
        if ruling.move is Move.WITHDRAW or following == 1.0:
            return Stream(
                kind=kind,
                seed=seed,
                withdrawn=ruling.move is Move.WITHDRAW,
                conversations=sum(step.conversations for step in steps),
                share=steps[-1].share,
                reason=ruling.reason,
            )
        steps.append(SimulatedStep(following))


def _play_step(kind: str, steps: list[SimulatedStep], version: str, draw: random.Random) -> CanaryRuling:
    """The ruling that ends the newest step."""
    step, number = steps[-1], 0
    while True:
        number += 1
        name = f"{len(steps)}-{draw.getrandbits(64):x}"
        arm = "canary" if is_in_share(name, version, step.share) else "champion"
        step.conversations += arm == "canary"
        for signal, rate in RATES.items():
            is_corrected = signal is Signal.CORRECTION and arm == "canary"
            if draw.random() < (CORRECTED[kind] if is_corrected else rate):
                step.signals[signal, arm] += 1
        age_s = number / CONVERSATIONS_PER_S
        if age_s % LOOK_S == 0.0:
            counts = {signal: tuple(step.counts(signal) for step in steps) for signal in Signal}
            ruling = rule(counts, age_s=age_s, conversations=step.conversations, options=OPTIONS)
            if ruling.move is not Move.WAIT:
                return ruling


def run(journal: Path, streams: int) -> list[Stream]:
    """So many streams of each kind; those in the journal are not simulated again."""
    done = {(stream.kind, stream.seed): stream for stream in read_journal(journal)}
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a") as lines:
        for seed in range(streams):
            for kind in (BAD, GOOD):
                if (kind, seed) not in done:
                    done[kind, seed] = simulate(kind, seed)
                    print(json.dumps(asdict(done[kind, seed])), file=lines, flush=True)
    return [stream for stream in done.values() if stream.seed < streams]


def read_journal(journal: Path) -> Iterator[Stream]:
    """The streams that an earlier run finished. A line that was cut off is left out."""
    if not journal.exists():
        return
    for line in journal.read_text().splitlines():
        try:
            yield Stream(**json.loads(line))
        except ValueError:
            continue


def figures(streams: list[Stream]) -> dict[str, Any]:
    """The shares, and how many conversations the withdrawals took."""
    by_kind = {kind: [stream for stream in streams if stream.kind == kind] for kind in (BAD, GOOD)}
    withdrawn = {kind: [stream for stream in some if stream.withdrawn] for kind, some in by_kind.items()}
    took = sorted(stream.conversations for stream in withdrawn[BAD])
    good, alpha = len(by_kind[GOOD]), OPTIONS.alpha
    return {
        "bad": len(by_kind[BAD]),
        "good": good,
        "bad_rolled_back_share": round(len(withdrawn[BAD]) / len(by_kind[BAD]), 4),
        "good_withdrawn_share": round(len(withdrawn[GOOD]) / good, 4),
        "good_withdrawn_share_bound": round(alpha + 1.96 * sqrt(alpha * (1.0 - alpha) / good), 4),
        "conversations_p50": _percentile(took, 50),
        "conversations_p95": _percentile(took, 95),
        "withdrawn_by_share": _by_share(withdrawn),
    }


def _by_share(withdrawn: Mapping[str, list[Stream]]) -> dict[str, dict[str, int]]:
    return {
        kind: {f"{share:.2f}": count for share, count in sorted(Counter(one.share for one in some).items())}
        for kind, some in withdrawn.items()
    }


def _percentile(ordered: list[int], percent: int) -> int | None:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None


def main() -> None:
    """`python -m bench.canary [--quick] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="200 streams of each kind: under a minute")
    parser.add_argument("--journal", type=Path, help="goes on from this file; .cache/ has one a commit")
    asked = parser.parse_args()
    began_s, streams = time.monotonic(), 200 if asked.quick else 1000
    journal = asked.journal or Path(".cache") / f"canary-{commit()}.jsonl"
    found = figures(run(journal, streams))
    about = {"seconds": round(time.monotonic() - began_s, 1), "commit": commit(), "cores": os.cpu_count()}
    print(json.dumps({**found, **about}))


if __name__ == "__main__":
    main()
