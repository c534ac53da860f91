"""An experiment file is read, or refused with one line that says what is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.commands.experiments.plan import read_plan
from daemon.commands.experiments.results import plan_values, results_of
from daemon.console import CommandFailed
from daemon.settings import Settings
from ledger.experiments.steps import LearnsFrom
from ledger.learning.agents import NOT_YET

ROOT = Path(__file__).resolve().parents[5]
HEAD = 'environment = ["python", "-m", "env"]\ngroups = 4\nsamples = 8\nsteps = 2\n'
TAUGHT = f'{HEAD}learns_from = "corrections"\n'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"engine": {"base": tmp_path / "base"}})


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "try.toml"
    path.write_text(text)
    return path


def test_an_experiment_has_what_is_shared_and_what_is_its_own(tmp_path: Path, settings: Settings) -> None:
    text = (
        f"{HEAD}[recipe]\nlearning_rate = 3e-3\n[options]\ntool_s = 4\n"
        '[experiments.a]\n[experiments.b]\nsteps = 5\nrecipe = { rank = 4 }\noptions = { family = "sum" }\n'
    )
    file = read_plan(write(tmp_path, text), settings)
    first, second = file.plans
    assert (file.name, file.at_once) == ("try", 2)
    assert (first.steps, second.steps, second.batch) == (2, 5, 32)
    assert first.recipe == {"preset": "grpo", "staleness_max": 0, "learning_rate": 3e-3}
    assert second.recipe == {**first.recipe, "rank": 4}
    assert second.options == {"tool_s": 4, "family": "sum"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{HEAD}speed = 3\n[experiments.a]\n", "speed"),
        (f"{HEAD}[experiments.a]\ngruops = 3\n", "gruops"),
        (HEAD, "experiments"),
        (f"{HEAD}[experiments]\n", "experiments"),
        ("groups = 4\nsamples = 8\nsteps = 2\n[experiments.a]\n", "environment is missing"),
        (f"{HEAD}[experiments.a]\nsamples = 1\n", "samples: at least 2"),
        (f"{HEAD}[experiments.a]\nsamples = 0\n", "samples"),
        (f"{HEAD}[experiments.a]\nmeasured = 4\n", "every outcome would teach"),
        (f'{HEAD}[experiments.a]\nlearns_from = "people"\n', "learns_from"),
        (f"{HEAD}[experiments.a.recipe]\ncoefficients = {{ policy = 0 }}\n", "policy term, which is 0"),
        (f'{TAUGHT}[experiments.a.recipe]\npreset = "grpo"\n', "grpo is for outcomes"),
        (f"{TAUGHT}[experiments.a.recipe]\ncoefficients = {{ supervised = 0 }}\n", "are both 0"),
        (f"{TAUGHT}[experiments.a.recipe]\ncoefficients = {{ policy = 0.5 }}\n", "outcomes only measure"),
        (f"{TAUGHT}[experiments.a.recipe]\ncoefficients = {{ speed = 1 }}\n", "unknown loss terms speed"),
        (f"{TAUGHT}[experiments.a.recipe]\ncoefficients = 3\n", "must be a table"),
        (f"{HEAD}[experiments.a]\ngroups = 33\n", "264 outcomes in a step; learning.events_max is 256"),
        (f"{HEAD}[experiments.a.recipe]\nrang = 4\n", "rang"),
        (f"{HEAD}[experiments.a.recipe]\nrank = 32\n", "rank 32; engine.rank_max is 16"),
        (f'{HEAD}base = "/no/such/base"\n[experiments.a]\n', "base: this installation has one base"),
        (f'{HEAD}[experiments."a/b"]\n', "a/b"),
        (f"{HEAD}[experiments.a\n", "try.toml"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(
    tmp_path: Path, settings: Settings, text: str, why: str
) -> None:
    with pytest.raises(CommandFailed) as refusal:
        read_plan(write(tmp_path, text), settings)
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_experiment_on_corrections_has_the_default_recipe_in_which_outcomes_teach_nothing(
    tmp_path: Path, settings: Settings
) -> None:
    text = (
        f"{TAUGHT}measured = 6\n[experiments.a]\nsamples = 1\n"
        "[experiments.b.recipe]\ncoefficients = { kl = 0.0 }\n"
        '[experiments.c]\nlearns_from = "outcomes"\nmeasured = 0\n'
    )
    first, second, third = read_plan(write(tmp_path, text), settings).plans
    assert (first.learns_from, first.measured, first.batch) == (LearnsFrom.CORRECTIONS, 6, 4)
    assert first.recipe == {"coefficients": {"policy": 0.0}}
    assert second.recipe == {"coefficients": {"kl": 0.0, "policy": 0.0}}
    assert third.recipe == {"preset": "grpo", "staleness_max": 0}
    assert [plan.events_min for plan in (first, second, third)] == [NOT_YET, NOT_YET, 32]


def test_results_of_plans_that_said_nothing_of_corrections_go_on(tmp_path: Path, settings: Settings) -> None:
    [plan] = read_plan(write(tmp_path, f"{HEAD}[experiments.a]\n"), settings).plans
    before = {
        name: value for name, value in plan_values(plan).items() if name not in ("learns_from", "measured")
    }
    line = {"plan": before, "began_s": 1.0, "mark": {"seq": 0, "turn": 0, "version": "v0"}}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    assert results_of(tmp_path, plan).plan == before
    with pytest.raises(CommandFailed, match="another plan"):
        results_of(tmp_path, replace(plan, learns_from=LearnsFrom.CORRECTIONS))


def test_a_file_that_is_not_there_is_named(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(CommandFailed, match=r"nowhere\.toml"):
        read_plan(tmp_path / "nowhere.toml", settings)


@pytest.mark.parametrize(
    ("name", "count", "batch"),
    [("sums", 8, 128), ("variants", 6, 128), ("retail", 2, 96), ("ablation", 8, 24)],
)
def test_the_examples_can_be_run(settings: Settings, name: str, count: int, batch: int) -> None:
    file = read_plan(ROOT / "examples" / "experiments" / f"{name}.toml", settings)
    assert len(file.plans) == count
    assert {plan.batch for plan in file.plans} == {batch}
