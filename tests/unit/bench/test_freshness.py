"""The figures of the freshness benchmark, and rounds that are not measured twice."""

import os
from pathlib import Path
from typing import Any

from bench.commit import commit
from bench.finished_runs import append_run
from bench.freshness import measure, summary
from ledger.reports.timeline import PARTS


def build_run(agent: str, wave: int, seconds: float) -> dict[str, Any]:
    parts_s = dict.fromkeys(PARTS, seconds / len(PARTS))
    return {
        "agent": agent,
        "version": "v1-abc123",
        "s": seconds,
        "parts_s": parts_s,
        "wave": wave,
        "followed": 1.0,
    }


def test_the_figures_are_percentiles_over_the_rounds() -> None:
    figures = summary(
        [build_run("coder-1", 1, 20.0), build_run("coder-1", 2, 30.0), build_run("coder-2", 1, 40.0)]
    )
    assert (figures["p50_s"], figures["p95_s"], figures["rounds"]) == (30.0, 40.0, 3)
    assert figures["parts"]["train"] == {"p50_s": 6.0, "p95_s": 8.0}
    assert figures["followed_min"] == 1.0


def test_finished_rounds_of_this_commit_are_not_repeated(tmp_path: Path) -> None:
    finished = [build_run("agent-1", wave, 20.0 + wave) for wave in (1, 2)]
    for run in finished:
        append_run(
            tmp_path / "runs.jsonl", {**run, "base": "tiny", "commit": commit(), "cores": os.cpu_count()}
        )
    assert [run["s"] for run in measure("tiny", 2, tmp_path / "runs.jsonl")] == [21.0, 22.0]
