"""`bench.experiments` on one device with recorded rollouts: no servers, only what `bench.engine` needs."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from bench.experiment_plan import RowPlan, ratio_of_rows
from bench.recorded_rollouts import GATHER_S, RECORDS, RolloutRecord, play_row, rollout_batch
from bench.updates import PeftUpdate, WarmEngineUpdate
from engine.calibration import synchronize

AT_ONCE = (8, 1, 4, 2)  # the most telling rows first
PEFT_REPETITIONS = 3
PEFT_SHARE = 0.75  # of the time, after which PEFT is not begun: its own base must be made too

LEFT_OUT = (
    "rollouts (no vLLM here: they take recorded times, whatever runs beside them)",
    "rewards (random weights)",
    "Kafka, ledger, gateway and gate",
    "cold starts",
)


def measure_device(
    plan: RowPlan, *, shape: str, device: torch.device, records: Sequence[str], minutes_max: float
) -> dict[str, Any]:
    """Rows and ratios of each record. What found no time within `minutes_max` is named under `left_out`."""
    until_s = time.monotonic() + 60.0 * minutes_max
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    ours = WarmEngineUpdate(shape, dtype, plan.experiments, device)
    left_out = [*LEFT_OUT]
    reports = []
    for name in records:
        record = RECORDS[name]
        batches = [rollout_batch(record, plan, experiment) for experiment in range(plan.experiments)]
        work = ours.work(batches)

        def update(experiments: Sequence[int], work: Any = work) -> float:
            return _seconds(lambda: ours.update([work[n] for n in experiments], ours.auto), device)

        update(range(plan.experiments))  # warms up
        rows = _rows(replace(plan, regime=name), record, update, until_s, left_out)
        together_s = min(update(range(plan.experiments)) for _ in range(PEFT_REPETITIONS))
        tokens = sum(len(prompt) + sum(map(len, replies)) for batch in batches for prompt, replies in batch)
        reports.append(_report(name, record, rows, together_s, tokens))
    _add_peft(
        reports, plan, shape, dtype, device, until_s - 60.0 * minutes_max * (1.0 - PEFT_SHARE), left_out
    )
    return {
        "shape": shape,
        "dtype": str(dtype).removeprefix("torch."),
        "records": reports,
        "left_out": left_out,
    }


def _rows(
    plan: RowPlan,
    record: RolloutRecord,
    update: Callable[[Sequence[int]], float],
    until_s: float,
    left_out: list[str],
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for at_once in AT_ONCE:
        if time.monotonic() > until_s:
            left_out.append(f"{plan.regime}, {at_once} at once (no time was left)")
            continue
        row_plan = replace(plan, at_once=at_once)
        rows.append({**asdict(row_plan), **play_row(row_plan, record, update)})
        print(f"{plan.regime}, {at_once} at once: {rows[-1]['final_s']} s", file=sys.stderr, flush=True)
    return rows


def _report(
    name: str, record: RolloutRecord, rows: Sequence[dict[str, Any]], together_s: float, tokens: int
) -> dict[str, Any]:
    by_count = {row["at_once"]: row for row in rows}
    return {
        "record": name,
        **asdict(record),
        "gather_s": GATHER_S,
        "final_ratio_n8": ratio_of_rows(by_count, 1, 8, "final_s"),
        "first_result_ratio_n8": ratio_of_rows(by_count, 8, 1, "first_s"),
        "step_ratio_n8": ratio_of_rows(by_count, 8, 1, "step_s"),
        "train_ms": round(1000.0 * together_s, 1),
        "train_tokens": tokens,  # a prompt counts once for all its replies
        "train_ratio_vs_peft": None,
        "rows": list(rows),
    }


def _add_peft(
    reports: Sequence[dict[str, Any]],
    plan: RowPlan,
    shape: str,
    dtype: torch.dtype,
    device: torch.device,
    until_s: float,
    left_out: list[str],
) -> None:
    """Time the same update by PEFT, one adapter at a time on padded batches, and write the ratio."""
    if find_spec("peft") is None:
        left_out.append("train_ratio_vs_peft (peft is not installed)")
        return
    if time.monotonic() > until_s:
        left_out.append("train_ratio_vs_peft (no time was left)")
        return
    peft = PeftUpdate(shape, dtype, plan.experiments, device)
    for report in reports:
        record = RECORDS[report["record"]]
        batches = [rollout_batch(record, plan, experiment) for experiment in range(plan.experiments)]
        update = partial(peft.update, batches, padded=True)
        times_s = [_seconds(update, device) for _ in range(PEFT_REPETITIONS + 1)][1:]  # the first warms up
        report["peft_ms"] = round(1000.0 * min(times_s), 1)
        report["train_ratio_vs_peft"] = round(report["peft_ms"] / report["train_ms"], 2)


def _seconds(compute: Callable[[], None], device: torch.device) -> float:
    synchronize(device)
    began_s = time.perf_counter()
    compute()
    synchronize(device)
    return time.perf_counter() - began_s
