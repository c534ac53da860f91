"""Runs one row of `bench.experiments`: the same experiments, so many at a time, on real servers."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.experiment_files import RowExperiment, experiment_file, row_experiments
from bench.experiment_plan import RowPlan, durations, rewards
from daemon.commands.experiments.course import BUDGET_USED
from examples.house_rules.stack import Stack, StackOptions

SETTINGS = {
    "CLORAD_LEARNING__GATHER_S": "0.2",
    "CLORAD_FLEET__REQUEST_S_MAX": "30",
    "CLORAD_FLEET__ADAPTERS_MAX": "512",
}
"""What experiments alone need: passes that wait for others a moment only, old versions unloaded soon. The
last versions of ended experiments stay loaded: without room for them nothing new would be."""

MAX_LORAS = 12  # eight versions that answer, some that are probed; the CPU build keeps a slot empty


class RowFailed(RuntimeError):
    """An experiment of the row did not end as planned. The message says how the first one ended."""


def measure_row(plan: RowPlan, stack: Stack | None, *, s_max: float) -> dict[str, Any]:
    """The row's figures. A cold row starts servers itself. Raises `RowFailed` after `s_max` seconds."""
    until_s, experiments = time.monotonic() + s_max, row_experiments(plan)
    if plan.cold:
        began_s, runs = time.time(), []
        for experiment in experiments:
            with running_stack() as own:
                runs += _run(own, plan, [experiment], until_s)
    else:
        assert stack is not None
        began_s = time.time()
        runs = _run(stack, plan, experiments, until_s)
    return {**asdict(plan), **figures(runs, began_s)}


def figures(runs: Sequence[Mapping[str, Any]], began_s: float) -> dict[str, Any]:
    """Seconds from the row's beginning until experiments ended, seconds of steps, and rewards."""
    return {**durations(runs, began_s), **rewards(runs)}


@contextlib.contextmanager
def running_stack() -> Iterator[Stack]:
    """Kafka, vLLM and the four roles, in a folder that is removed afterwards. Raises `StackFailedError`."""
    with tempfile.TemporaryDirectory(prefix="clorad-experiments-") as folder:
        os.environ.update(SETTINGS | {"CLORAD_EXPERIMENTS__PATH": str(Path(folder) / "results")})
        stack = Stack(StackOptions(folder=Path(folder) / "stack", agents={}, max_loras=MAX_LORAS))
        try:
            stack.launch()
            stack.start_role("run")
            stack.wait_ready()
            stack.wait_for_agents()
            yield stack
        finally:
            stack.stop()


def _run(
    stack: Stack, plan: RowPlan, experiments: Sequence[RowExperiment], until_s: float
) -> list[dict[str, Any]]:
    file = stack.folder / f"{experiments[0].name}.toml"
    file.write_text(experiment_file(plan, experiments))
    words = ["experiment", "run", str(file), "--at-once", str(plan.at_once), "--json"]
    try:
        completed = subprocess.run(
            [sys.executable, "-m", "daemon", "--config", str(stack.config), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=max(1.0, until_s - time.monotonic()),
        )
    except subprocess.TimeoutExpired:
        raise RowFailed(f"{plan.regime}, {plan.at_once} at once: no time is left") from None
    if completed.returncode != 0:
        reason = _reason(completed.stdout, completed.stderr)
        raise RowFailed(f"{plan.regime}, {plan.at_once} at once: {reason[:300]}")
    runs: list[dict[str, Any]] = json.loads(completed.stdout)
    return runs


def _reason(printed: str, errors: str) -> str:
    """Why experiments ended early: how the first of them ended, or the last line of what was printed."""
    try:
        ends = {run["experiment"]: run["end"] for run in json.loads(printed)}
        return next(f"{name}: {end}" for name, end in ends.items() if end != BUDGET_USED)
    except (ValueError, StopIteration):
        return ((errors or printed).strip().splitlines() or ["it printed nothing"])[-1]
