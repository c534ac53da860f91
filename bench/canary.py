"""Measures how many bad canaries are withdrawn, how many good ones, after how many conversations, how fast.

A bad canary is corrected in 15 % of its conversations and the champion in 5 %; a good one as often as the
champion. Simulated streams go through the real decisions; some canaries run on the real ledger and gateway.
What is finished is written to a journal, and a run that was broken off goes on from there.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

from bench.canary_live import LiveRun, run_live
from bench.canary_streams import BAD, GOOD, OPTIONS, Stream, simulate
from bench.commit import commit
from bench.finished_runs import append_run, read_runs
from bench.percentile import percentile

STREAMS, LIVE = 1000, 10
STREAMS_QUICK, LIVE_QUICK = 50, 1


class FinishedRuns:
    """A journal: the results of runs that are finished, one JSON line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done = {(line["what"], line["kind"], line["seed"]): line for line in read_runs(path)}

    def result(self, what: str, kind: str, seed: int, run: Callable[[], Stream | LiveRun]) -> dict[str, Any]:
        """The stored result, or that of `run`, which is stored."""
        key = (what, kind, seed)
        if key not in self._done:
            self._done[key] = {"what": what, **asdict(run())}
            append_run(self._path, self._done[key])
        return {name: value for name, value in self._done[key].items() if name != "what"}


def figures(streams: list[Stream], live: list[LiveRun]) -> dict[str, Any]:
    """The shares, how many conversations withdrawals took, and how long until gateways followed."""
    by_kind = {kind: [stream for stream in streams if stream.kind == kind] for kind in (BAD, GOOD)}
    withdrawn = {
        kind: [stream for stream in streams_of_kind if stream.withdrawn]
        for kind, streams_of_kind in by_kind.items()
    }
    took = sorted(stream.conversations for stream in withdrawn[BAD])
    rollbacks = [run.rollback_s for run in live if run.rollback_s is not None]
    good, alpha = len(by_kind[GOOD]), OPTIONS.alpha
    return {
        "bad": len(by_kind[BAD]),
        "good": good,
        "bad_rolled_back_share": round(len(withdrawn[BAD]) / len(by_kind[BAD]), 4),
        "good_withdrawn_share": round(len(withdrawn[GOOD]) / good, 4),
        "good_withdrawn_share_bound": round(alpha + 1.96 * sqrt(alpha * (1.0 - alpha) / good), 4),
        "conversations_p50": percentile(took, 50) if took else None,
        "conversations_p95": percentile(took, 95) if took else None,
        "withdrawn_by_share": {
            kind: {
                f"{share:.2f}": count
                for share, count in sorted(Counter(s.share for s in streams_of_kind).items())
            }
            for kind, streams_of_kind in withdrawn.items()
        },
        "rollback_s_max": max(rollbacks, default=None),
        "live": {
            kind: {
                "runs": sum(run.kind == kind for run in live),
                "withdrawn": sum(run.kind == kind and run.withdrawn for run in live),
                "conversations": [run.conversations for run in live if run.kind == kind],
            }
            for kind in (BAD, GOOD)
        },
    }


def run(finished: FinishedRuns, *, streams: int, live: int) -> dict[str, Any]:
    """So many streams and live canaries of each kind."""
    simulated = [
        Stream(**finished.result("stream", kind, seed, partial(simulate, kind, seed)))
        for seed in range(streams)
        for kind in (BAD, GOOD)
    ]
    with _replica() as url:
        lived = [
            LiveRun(**finished.result("live", kind, seed, partial(run_live, kind, seed, url)))
            for seed in range(live)
            for kind in (BAD, GOOD)
        ]
    return figures(simulated, lived)


@contextmanager
def _replica() -> Iterator[str]:
    """A process that answers as a vLLM replica does; its URL."""
    started = subprocess.Popen([sys.executable, "-m", "bench.replica", "replica"], stdout=subprocess.PIPE)
    try:
        assert started.stdout is not None
        yield f"http://127.0.0.1:{int(started.stdout.readline())}"
    finally:
        started.kill()
        started.wait()


def main() -> None:
    """`python -m bench.canary [--quick] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="few streams, two live canaries: a minute")
    parser.add_argument("--journal", type=Path, help="goes on from this file; .cache/ has one a commit")
    asked = parser.parse_args()
    began_s, measured = time.monotonic(), commit()  # others may commit while it runs
    streams, live = (STREAMS_QUICK, LIVE_QUICK) if asked.quick else (STREAMS, LIVE)
    finished = FinishedRuns(asked.journal or Path(".cache") / f"canary-{measured}.jsonl")
    measured_figures = run(finished, streams=streams, live=live)
    about = {"seconds": round(time.monotonic() - began_s, 1), "commit": measured, "cores": os.cpu_count()}
    print(json.dumps({**measured_figures, **about}))


if __name__ == "__main__":
    main()
