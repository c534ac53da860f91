"""`bench.experiments --device`: recorded rollouts beside real training. No measured time is asserted."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.experiment_device import measure_device
from bench.experiments import LATENCY
from bench.recorded_rollouts import RECORDS, play_row, rollout_batch
from bench.updates import SHAPES, WarmEngineUpdate

ROOT = Path(__file__).resolve().parents[3]
PLAN = replace(LATENCY, steps=3)
SHORT = replace(RECORDS["sums"], rollout_s=4.0, swap_s=0.5)


def test_each_experiment_trains_each_of_its_steps_once_and_in_order() -> None:
    trained: list[Sequence[int]] = []

    def update(experiments: Sequence[int]) -> float:
        trained.append(list(experiments))
        return 1.0

    play_row(replace(PLAN, at_once=4), SHORT, update)
    every = [experiment for together in trained for experiment in together]
    assert sorted(every) == sorted(list(range(8)) * 3)
    assert max(map(len, trained)) > 1, "those that are ready together share a pass"
    assert all(len(together) == len(set(together)) for together in trained)


def test_one_at_a_time_takes_all_rollouts_passes_and_swaps_one_after_the_other() -> None:
    row = play_row(replace(PLAN, at_once=1), SHORT, lambda _: 1.0)
    assert row["wait_s"] == 0.0
    assert row["train_s"] == 1.0
    assert row["final_s"] == pytest.approx(8 * 3 * row["step_s"], abs=0.1)
    assert row["first_s"] < row["mean_s"] < row["final_s"]


def test_a_pass_waits_for_the_learner_that_trains_others() -> None:
    row = play_row(replace(PLAN, at_once=8), SHORT, lambda _: 30.0)
    assert row["wait_s"] > 5.0
    assert row["step_s"] == pytest.approx(row["rollout_s"] + row["wait_s"] + 30.0 + 0.5, abs=0.01)


def test_a_batch_has_the_recorded_lengths_and_differs_between_experiments() -> None:
    first, second = (rollout_batch(SHORT, PLAN, experiment) for experiment in (0, 1))
    assert first != second == rollout_batch(SHORT, PLAN, 1)
    assert [len(replies) for _, replies in first] == [PLAN.samples] * PLAN.groups
    assert all(34 <= len(prompt) <= 48 for prompt, _ in first)


@pytest.mark.parametrize("shape", ["tiny", "64x2-experts"])
def test_the_report_has_the_columns_and_names_what_it_left_out(shape: str) -> None:
    plan = replace(PLAN, steps=1, experiments=2, groups=1)
    report = measure_device(plan, shape=shape, device=torch.device("cpu"), records=["sums"], minutes_max=5.0)
    (record,) = report["records"]
    assert [row["at_once"] for row in record["rows"]] == [8, 1, 4, 2]
    assert {"final_s", "mean_s", "first_s", "step_s", "rollout_s", "train_s", "swap_s"} <= record["rows"][
        0
    ].keys()
    assert record["train_ratio_vs_peft"] > 0.0
    assert record["source"].startswith("recorded")
    assert any("vLLM" in part for part in report["left_out"])


def test_without_time_every_row_is_named_as_left_out() -> None:
    plan = replace(PLAN, steps=1, experiments=2, groups=1)
    report = measure_device(plan, shape="tiny", device=torch.device("cpu"), records=["sums"], minutes_max=0.0)
    assert report["records"][0]["rows"] == []
    assert sum("no time was left" in part for part in report["left_out"]) == 5


def test_the_large_base_with_experts_has_half_of_the_parameters_of_qwen3_30b_a3b() -> None:
    size = SHAPES["qwen3-30b-a3b-half"]
    hidden, heads = size["hidden_size"], size["head_dim"]
    attention = 2 * hidden * heads * (size["num_attention_heads"] + size["num_key_value_heads"])
    experts = size["num_experts"] * (3 * hidden * size["moe_intermediate_size"] + hidden)
    whole = size["num_hidden_layers"] * (attention + experts) + 2 * hidden * size["vocab_size"]
    assert 15.5e9 < whole < 15.7e9


def test_the_work_of_experts_counts_for_the_experts_of_a_token_only() -> None:
    dense, experts = (
        WarmEngineUpdate(shape, torch.float32, 1, torch.device("cpu")) for shape in ("64x2", "64x2-experts")
    )
    batches = [[((1,) * 10, ((2,) * 5,))]]
    # A token's 2 experts have 3·64·32 weights each and the router 8·64; the other base 3·64·128 and adapters.
    saved = 3 * 64 * 128 - (2 * 3 * 64 * 32 + 8 * 64)
    adapters = 6 * 8 * 3 * (64 + 128)
    assert dense.flops(dense.work(batches)) - experts.flops(experts.work(batches)) == (15 + 5) * (
        4 * saved + adapters
    )


def test_it_needs_no_client_of_a_server() -> None:
    """A machine with torch alone can run it: no Kafka, database, web or settings library is loaded."""
    program = "import sys, json, bench.experiments; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"kafka", "sqlalchemy", "fastapi", "starlette", "structlog", "pydantic_settings"} & set(
        json.loads(done.stdout.splitlines()[-1])
    )
