"""Measures how often outcomes promote a canary wrongly, and after how many conversations rightly.

Where rewards are shuffled between the versions, every promotion is wrong. An improved canary's conversations
end well in 90 %, its champion's in 50 %. A run that was broken off goes on from its journal.
"""

import argparse
import json
import os
import time
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from typing import Any

from bench.commit import commit
from bench.finished_runs import append_run, read_runs
from bench.outcome_streams import IMPROVED, SHUFFLED, OutcomeStream, options_of, simulate_outcomes
from bench.percentile import percentile
from daemon.setting_groups.canary import CanarySettings

SHARES = (0.5, 0.05)
"""First shares of candidates: half of the traffic, and the default, which grows by steps."""


def false_promotions_bound(streams: int, alpha: float) -> float:
    """The largest share of false promotions that is compatible with `alpha` (95 %, normal approximation)."""
    return alpha + 1.96 * sqrt(alpha * (1.0 - alpha) / streams)


def figures(streams: list[OutcomeStream], alpha: float) -> dict[str, Any]:
    """The share of wrong promotions, and how many conversations right ones took, by first share."""
    shuffled = [stream for stream in streams if stream.kind == SHUFFLED]
    wrong = sum(stream.promoted for stream in shuffled)
    return {
        "alpha": alpha,
        "shuffled_streams": len(shuffled),
        "shuffled_tries": sum(stream.tries for stream in shuffled),
        "false_promotions": wrong,
        "false_promotions_share": round(wrong / len(shuffled), 4),
        "false_promotions_bound": round(false_promotions_bound(len(shuffled), alpha), 4),
        "improved": {
            f"{share:.2f}": _improved(
                [stream for stream in streams if stream.kind == IMPROVED and stream.share == share]
            )
            for share in SHARES
        },
    }


def _improved(streams: list[OutcomeStream]) -> dict[str, Any]:
    promoted = [stream for stream in streams if stream.promoted and stream.tries == 1]
    took = {
        "conversations": [stream.conversations for stream in promoted],
        "of_canary": [stream.of_canary for stream in promoted],
    }
    return {
        "streams": len(streams),
        "promoted_share": round(len(promoted) / len(streams), 4),
        **{
            f"{name}_p{percent}": percentile(values, percent) if values else None
            for name, values in took.items()
            for percent in (50, 95)
        },
    }


def run(journal: Path, *, streams: int, conversations_max: int, look_every: int) -> dict[str, Any]:
    """So many shuffled streams up to that limit, and a quarter as many improved ones for each share."""
    options = {
        SHUFFLED: options_of(conversations_max),
        IMPROVED: options_of(CanarySettings().outcomes_max),
    }
    finished = {(line["kind"], line["share"], line["seed"]): line for line in read_runs(journal)}
    wanted = [(SHUFFLED, SHARES[0], seed) for seed in range(streams)]
    wanted += [(IMPROVED, share, seed) for share in SHARES for seed in range(max(1, streams // 4))]
    for kind, share, seed in wanted:
        if (kind, share, seed) in finished:
            continue
        stream = simulate_outcomes(kind, seed, share=share, options=options[kind], look_every=look_every)
        finished[kind, share, seed] = asdict(stream)
        append_run(journal, asdict(stream))
    done = [OutcomeStream(**finished[key]) for key in wanted]
    return figures(done, options[SHUFFLED].outcomes.alpha)


def main() -> None:
    """`python -m bench.outcomes [--quick] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="few and short streams: less than a minute")
    parser.add_argument("--journal", type=Path, help="goes on from this file; .cache/ has one a commit")
    asked = parser.parse_args()
    began_s, measured = time.monotonic(), commit()  # others may commit while it runs
    size = {"streams": 40, "conversations_max": 200, "look_every": 20}
    if not asked.quick:
        size = {"streams": 500, "conversations_max": 600, "look_every": 10}
    name = f"outcomes-{measured}{'-quick' if asked.quick else ''}.jsonl"
    measured_figures = run(asked.journal or Path(".cache") / name, **size)
    about = {"seconds": round(time.monotonic() - began_s, 1), "commit": measured, "cores": os.cpu_count()}
    print(json.dumps({**measured_figures, **size, **about}))


if __name__ == "__main__":
    main()
