"""Measures how much sooner experiments end that run at once on one warm stack: the field report in small.

The same eight experiments (word problems, one family each) run 1, 2, 4 and 8 at a time through the real
daemon: rollouts from vLLM through the gateway, rewards over Kafka, packed training, a swap after each step.
`latency`: 16 rollouts a step, a tool of 4 s. `compute`: 128 rollouts a step, no latency. `cold`: each
experiment on servers started for it. `retail`: two experiments on the support of a shop, 1 and 2 at a time.
A run that was broken off goes on from its journal.

`--device cuda --shape qwen3-4b` plays recorded rollouts instead, on a base with random weights of that shape:
it needs a GPU and what `bench.engine` needs, no servers, and ends within ten minutes.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before torch

import torch

from bench.commit import commit
from bench.experiment_device import measure_device
from bench.experiment_plan import RowPlan, ratio_of_rows
from bench.experiment_rewards import example_name, reward_differences
from bench.experiment_training import training_ratio
from bench.finished_runs import append_run, read_runs
from bench.recorded_rollouts import RECORDS
from bench.updates import SHAPES

ROOT = Path(__file__).resolve().parents[1]

REPORTED = {
    "final_ratio_n8": 2.81,
    "step_ratio_n8": 2.62,
    "first_result_ratio_n8": 1.97,
    "retail_final_ratio_n2": 1.28,
    "retail_step_ratio_n2": 1.57,
    "train_ratio_n8": 2.10,
    "experiments_at_90_by_step_9": 8,
}
"""The field report: one H200, Qwen3-4B, word problems of grade school, eight experiments of ten steps."""

LATENCY = RowPlan(
    regime="latency", at_once=1, seed=1, experiments=8, steps=10, groups=4, samples=4, tool_s=4.0
)
COMPUTE = replace(LATENCY, regime="compute", groups=16, samples=8, tool_s=0.0)
RETAIL = RowPlan(
    environment="retail",
    regime="retail",
    at_once=1,
    seed=1,
    experiments=2,
    steps=8,
    groups=12,
    samples=8,
    tool_s=4.0,
)
SEEDS = (1, 2, 3)
REGIMES = ("latency", "compute", "cold", "retail")
ROW_S_MAX = 3600.0
MINUTES_MAX, DEVICE_MINUTES_MAX = 120.0, 8.0


def planned_rows(*, quick: bool, regimes: Sequence[str]) -> list[RowPlan]:
    """The rows, the most telling ones first."""
    if quick:
        few = replace(LATENCY, experiments=4, steps=4)
        return [replace(few, at_once=4), few]
    rows = [replace(LATENCY, at_once=count) for count in (8, 1, 4, 2)]
    rows += [replace(COMPUTE, at_once=count, seed=seed) for seed in SEEDS for count in (8, 1)]
    rows.append(replace(LATENCY, cold=True))
    rows += [replace(RETAIL, at_once=count) for count in (2, 1)]
    return [row for row in rows if ("cold" if row.cold else row.regime) in regimes]


def report(rows: Sequence[Mapping[str, Any]], training: Mapping[str, Any]) -> dict[str, Any]:
    """The figures, beside those of the field report. None: the row was not measured."""
    latency = {row["at_once"]: row for row in rows if row["regime"] == "latency" and not row["cold"]}
    at_once_max = max(latency, default=1)
    compute = {n: [row for row in rows if row["regime"] == "compute" and row["at_once"] == n] for n in (1, 8)}
    cold = next((row for row in rows if row["cold"]), None)
    retail = {row["at_once"]: row for row in rows if row["regime"] == "retail"}
    return {
        "final_ratio_n8": ratio_of_rows(latency, 1, 8, "final_s"),
        "first_result_ratio_n8": ratio_of_rows(latency, 8, 1, "first_s"),
        "step_ratio_n8": ratio_of_rows(latency, 8, 1, "step_s"),
        "most_at_once": at_once_max,
        "final_ratio": ratio_of_rows(latency, 1, at_once_max, "final_s"),
        "first_result_ratio": ratio_of_rows(latency, at_once_max, 1, "first_s"),
        "final_ratio_n8_vs_cold": round(cold["final_s"] / latency[8]["final_s"], 2)
        if cold and 8 in latency
        else None,
        "compute_final_ratio_n8": _mean_ratio(compute[1], compute[8], "final_s"),
        "train_ratio_vs_peft": training["ratio"],
        "training": dict(training),
        "experiments_at_90_by_step_9": [row["at_90_by_step_9"] for row in compute[8]],
        "reward_n8": [(row["reward_first"], row["reward_last"]) for row in compute[8]],
        "reward_n1": [(row["reward_first"], row["reward_last"]) for row in compute[1]],
        "reward_n8_minus_n1": reward_differences(compute[8], compute[1]),
        "retail_final_ratio_n2": ratio_of_rows(retail, 1, 2, "final_s"),
        "retail_step_ratio_n2": ratio_of_rows(retail, 2, 1, "step_s"),
        "retail_reward_n2": _first_and_last(retail.get(2)),
        "retail_reward_n1": _first_and_last(retail.get(1)),
        "reported": REPORTED,
        "rows": list(rows),
    }


def _first_and_last(row: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """The mean reward of the first step and that of the last one."""
    return None if row is None else (row["reward_first"], row["reward_last"])


def _mean_ratio(
    above: Sequence[Mapping[str, Any]], below: Sequence[Mapping[str, Any]], column: str
) -> float | None:
    if not above or not below:
        return None
    means = [statistics.fmean(row[column] for row in rows) for rows in (above, below)]
    return round(means[0] / means[1], 2)


def measure(plans: Sequence[RowPlan], journal: Path, *, minutes_max: float) -> list[dict[str, Any]]:
    """Every row that was finished before or now. No row begins after `minutes_max`, and each ends by then."""
    from bench.experiment_rows import RowFailed, measure_row, running_stack  # they need the servers' clients
    from examples.house_rules.stack import StackFailedError

    until_s = time.monotonic() + 60.0 * minutes_max
    finished = read_runs(journal)
    rows = []
    with ExitStack() as servers:
        stack = None
        for plan in plans:
            known = next((row for row in finished if plan.is_measured_by(row)), None)
            if known is None and until_s - time.monotonic() > 0:
                if stack is None and not plan.cold:
                    stack = servers.enter_context(running_stack())
                try:
                    row = measure_row(plan, stack, s_max=min(ROW_S_MAX, until_s - time.monotonic()))
                    known = {**row, "commit": commit()}
                except (RowFailed, StackFailedError) as fault:
                    print(f"not measured: {fault}", flush=True)
                    continue
                append_run(journal, known)
            if known is not None:
                rows.append(known)
                print(json.dumps({name: known[name] for name in known if name != "rewards"}), flush=True)
    return rows


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the curves of the row that has most at once, its regime `compute` if that was measured."""
    from daemon.commands.experiments.curves import curves_svg
    from daemon.commands.experiments.results import ResultFile

    row = max(rows, key=lambda row: (row["regime"] == "compute", row["at_once"]))
    curves = [
        ResultFile(Path(f"{example_name(name, row)}.jsonl"), steps=[{"reward": r} for r in curve])
        for name, curve in row["rewards"].items()
    ]
    path.write_text(curves_svg(curves, title=f"{row['at_once']} experiments at once: mean reward by step"))


def main() -> None:
    """`python -m bench.experiments [--quick] --json`; the last line is one JSON object."""
    asked = _parser().parse_args()
    if asked.shape or asked.device:
        print(json.dumps(_on_device(asked)))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with it
    began_s, measured = time.monotonic(), commit()
    name = f"experiments-{measured}{'-quick' if asked.quick else ''}.jsonl"
    plans = planned_rows(quick=asked.quick, regimes=asked.regimes)
    minutes_max = MINUTES_MAX if asked.minutes_max is None else asked.minutes_max
    minutes_max = min(minutes_max, 5.0) if asked.quick else minutes_max
    rows = measure(plans, asked.journal or ROOT / ".cache" / name, minutes_max=minutes_max)
    training = training_ratio(agents=4 if asked.quick else 8, groups=LATENCY.groups, samples=LATENCY.samples)
    if asked.curves and rows:
        draw(rows, asked.curves)
    about = {"seconds": round(time.monotonic() - began_s), "commit": measured, "cores": os.cpu_count()}
    print(json.dumps({**report(rows, training), **about}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="no effect: it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="four experiments of four steps, N 1 and 4")
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=REGIMES)
    parser.add_argument("--minutes-max", type=float, help="no row begins after that: 120, on a device 8")
    parser.add_argument("--journal", type=Path, help="goes on from this file; .cache/ has one a commit")
    parser.add_argument("--curves", type=Path, help="an SVG file for the curves")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="play recorded rollouts, train there")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="of the base with random weights; qwen3-4b")
    parser.add_argument(
        "--records", nargs="+", choices=sorted(RECORDS), default=sorted(RECORDS, reverse=True)
    )
    return parser


def _on_device(asked: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(asked.device or "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("bench.experiments: no CUDA device that torch could use here")
    began_s = time.monotonic()
    measured = measure_device(
        replace(LATENCY, experiments=8, steps=4 if asked.quick else 10),
        shape=asked.shape or "qwen3-4b",
        device=device,
        records=asked.records,
        minutes_max=DEVICE_MINUTES_MAX if asked.minutes_max is None else asked.minutes_max,
    )
    return {
        **measured,
        "reported": REPORTED,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": str(torch.__version__),
        "seconds": round(time.monotonic() - began_s),
        "commit": commit(),
    }


if __name__ == "__main__":
    main()
