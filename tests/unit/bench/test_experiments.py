"""`bench.experiments`: which rows are measured, what is computed of them, and that finished ones are kept."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench.experiment_files import experiment_file, row_experiments
from bench.experiment_plan import RowPlan
from bench.experiment_rows import figures
from bench.experiments import COMPUTE, LATENCY, REGIMES, RETAIL, draw, measure, planned_rows, report
from bench.finished_runs import append_run
from daemon.commands.experiments.plan import read_plan
from daemon.settings import Settings
from examples.experiments.retail import Retail
from examples.experiments.sums import FAMILIES, Sums

TRAINING = {"ratio": 3.0}
LEARNING_RATES = {"sums": 3e-3, "retail": 2e-3}  # in the example files


def build_step(ended_at_s: float, reward: float) -> dict[str, Any]:
    parts = {"step_s": 4.0, "rollout_s": 2.0, "wait_s": 0.5, "train_s": 1.0, "swap_s": 0.5}
    return {"ended_at_s": ended_at_s, "reward": reward, "missing": 1, "tokens": 100, **parts}


def build_row(plan: RowPlan, **columns: Any) -> Mapping[str, Any]:
    usual = {"final_s": 100.0, "first_s": 10.0, "step_s": 5.0, "at_90_by_step_9": 8}
    rewards = {"reward_first": 0.4, "reward_last": 0.95, "rewards": {"sum-compute-8-1": [0.4, 0.95]}}
    return {**asdict(plan), **usual, **rewards, **columns}


def test_seconds_count_from_the_rows_beginning_and_means_are_over_experiments() -> None:
    curve = [0.5] * 8 + [0.9, 1.0]
    runs = [
        {"experiment": "a", "steps": [build_step(104.0 + place, r) for place, r in enumerate(curve)]},
        {"experiment": "b", "steps": [build_step(110.0 + place, 0.3) for place in range(10)]},
    ]
    row = figures(runs, 100.0)
    assert (row["final_s"], row["mean_s"], row["first_s"]) == (19.0, 16.0, 13.0)
    assert (row["step_s"], row["train_s"], row["missing"]) == (4.0, 1.0, 20)
    assert (row["at_90_by_step_9"], row["reward_last"]) == (1, 0.65)


def test_ratios_compare_the_same_experiments_at_once_and_one_by_one() -> None:
    one_by_one = build_row(LATENCY, final_s=400.0, first_s=50.0)
    at_once = build_row(replace(LATENCY, at_once=8), final_s=80.0, first_s=75.0, step_s=10.0)
    cold = build_row(replace(LATENCY, cold=True), final_s=800.0)
    figures_of_all = report([one_by_one, at_once, cold], TRAINING)
    assert figures_of_all["final_ratio_n8"] == 5.0
    assert figures_of_all["first_result_ratio_n8"] == 1.5
    assert figures_of_all["step_ratio_n8"] == 2.0
    assert figures_of_all["final_ratio_n8_vs_cold"] == 10.0
    assert figures_of_all["compute_final_ratio_n8"] is None


def test_retail_has_its_own_ratios_and_rewards_beside_the_reported_ones() -> None:
    one_by_one = build_row(RETAIL, final_s=300.0, reward_first=0.5, reward_last=0.8)
    at_once = build_row(replace(RETAIL, at_once=2), final_s=200.0, step_s=7.5)
    figures_of_all = report([one_by_one, at_once], TRAINING)
    assert figures_of_all["retail_final_ratio_n2"] == 1.5
    assert figures_of_all["retail_step_ratio_n2"] == 1.5
    assert figures_of_all["retail_reward_n1"] == (0.5, 0.8)
    assert figures_of_all["retail_reward_n2"] == (0.4, 0.95)
    assert figures_of_all["final_ratio_n8"] is None, "rows of retail are no rows of sums"
    assert report([], TRAINING)["retail_reward_n2"] is None


def test_a_quick_run_says_how_many_ran_at_once() -> None:
    rows = [build_row(plan) for plan in planned_rows(quick=True, regimes=["latency"])]
    figures_of_all = report(rows, TRAINING)
    assert (figures_of_all["most_at_once"], figures_of_all["final_ratio"]) == (4, 1.0)
    assert figures_of_all["final_ratio_n8"] is None


def test_the_rows_are_those_of_the_regimes_that_are_asked_for() -> None:
    assert [plan.at_once for plan in planned_rows(quick=False, regimes=["latency"])] == [8, 1, 4, 2]
    compute = planned_rows(quick=False, regimes=["compute"])
    assert {(plan.at_once, plan.seed) for plan in compute} == {(n, s) for n in (1, 8) for s in (1, 2, 3)}
    assert [plan.cold for plan in planned_rows(quick=False, regimes=["cold"])] == [True]
    retail = planned_rows(quick=False, regimes=["retail"])
    assert [(plan.environment, plan.at_once) for plan in retail] == [("retail", 2), ("retail", 1)]


def test_agents_of_two_rows_have_different_names() -> None:
    plans = planned_rows(quick=False, regimes=REGIMES)
    named = [experiment.name for plan in plans for experiment in row_experiments(plan)]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("plan", [LATENCY, COMPUTE, RETAIL], ids=lambda plan: plan.regime)
def test_a_row_runs_the_experiments_of_its_example_with_its_own_batch(plan: RowPlan, tmp_path: Path) -> None:
    file = tmp_path / "row.toml"
    file.write_text(experiment_file(plan, row_experiments(plan)))
    read = read_plan(file, Settings.model_validate({"engine": {"base": tmp_path / "base"}}))
    assert len(read.plans) == plan.experiments
    assert {(each.groups, each.samples, each.steps) for each in read.plans} == {
        (plan.groups, plan.samples, plan.steps)
    }
    assert {each.environment[-1] for each in read.plans} == {f"examples.experiments.{plan.environment}"}
    assert all(each.recipe["learning_rate"] == LEARNING_RATES[plan.environment] for each in read.plans)
    for each in read.plans:
        (Retail() if plan.environment == "retail" else Sums()).check(each.options)
        assert each.options["tool_s"] == plan.tool_s


def test_sums_has_an_experiment_for_each_family_and_retail_has_different_tasks() -> None:
    assert tuple(each.options["family"] for each in row_experiments(LATENCY)) == FAMILIES
    assert {each.seed for each in row_experiments(replace(LATENCY, seed=3))} == {3}
    assert len({each.seed for each in row_experiments(RETAIL)}) == RETAIL.experiments


def test_a_row_that_was_finished_is_not_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    journal = tmp_path / "runs.jsonl"
    append_run(journal, dict(build_row(COMPUTE)))
    rows = measure([COMPUTE, LATENCY], journal, minutes_max=0.0)
    assert [row["regime"] for row in rows] == ["compute"], "no time is left for the other one"
    assert "rewards" not in json.loads(capsys.readouterr().out)


def test_a_row_of_a_journal_that_names_no_environment_is_of_sums(tmp_path: Path) -> None:
    journal = tmp_path / "runs.jsonl"
    older = {name: value for name, value in build_row(LATENCY).items() if name != "environment"}
    append_run(journal, older)
    as_retail = replace(LATENCY, environment="retail")
    assert measure([LATENCY, as_retail], journal, minutes_max=0.0) == [older]


def test_the_curves_are_those_of_the_row_with_most_at_once(tmp_path: Path) -> None:
    rows = [build_row(LATENCY), build_row(replace(COMPUTE, at_once=8))]
    draw(rows, tmp_path / "curves.svg")
    assert "8 experiments at once" in (tmp_path / "curves.svg").read_text()
