"""`clorad experiment`: what is listed, drawn, stopped and refused."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from daemon.commands.experiments.curves import curves_svg, write_page
from daemon.commands.experiments.results import ResultFile, all_results
from tests.unit.daemon.conftest import Clorad


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "experiments"
    folder.mkdir()
    step = {"step": 1, "version": "v0", "serves": "v1-aaaaaa", "step_s": 3.5, "ended_at_s": 1.0}
    lines = [
        {"plan": {"steps": 2}, "began_s": 1.0, "mark": {"seq": 0, "turn": 0, "version": "v0"}},
        {**step, "reward": 0.25},
        {**step, "step": 2, "reward": 0.75},
    ]
    (folder / "sum.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "<odd>.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in [*lines, {"end": "x & y"}])
    )
    return folder


@pytest.mark.usefixtures("results")
def test_experiments_are_listed_with_their_rewards(clorad: Clorad) -> None:
    listed = clorad("experiment", "list")
    assert listed.code == 0, listed.err
    [line] = [line for line in listed.out.splitlines() if line.startswith("sum ")]
    assert "2 of 2" in line
    assert "0.250" in line
    assert "not over" in line
    [odd, _] = clorad("experiment", "list", "--json").json
    assert (odd["end"], [step["reward"] for step in odd["steps"]]) == ("x & y", [0.25, 0.75])


def test_without_results_the_list_says_what_to_do(clorad: Clorad) -> None:
    assert "clorad experiment run" in clorad("experiment", "list").out


def test_one_that_runs_is_asked_to_end_and_others_are_refused(clorad: Clorad, results: Path) -> None:
    assert "ends after the step" in clorad("experiment", "stop", "sum").out
    assert (results / "sum.stop").exists()
    assert clorad("experiment", "stop", "<odd>").err == "clorad: <odd> is over: x & y\n"
    assert clorad("experiment", "stop", "other").code == 1


def test_the_page_has_a_picture_of_each_measure(tmp_path: Path) -> None:
    file = ResultFile(tmp_path / "taught.jsonl", plan={"steps": 3})
    step = {"step_s": 1.0, "reward": 0.5}
    file.steps = [step, {**step, "measures": {"near": 0.25}}, {**step, "measures": {"near": 1.0, "a<b": 1.0}}]
    page = write_page(tmp_path, [file]).read_text()
    assert page.count("<svg") == 3
    assert "<h2>a&lt;b</h2>" in page
    near = ElementTree.fromstring(curves_svg([file], title="near", measure="near"))
    [curve] = near.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(curve.attrib["points"].split()) == 2, "the first step was not measured"


def test_the_page_and_its_picture_are_well_formed_whatever_the_names(results: Path) -> None:
    page = write_page(results, all_results(results))
    picture = ElementTree.fromstring((results / "curves.svg").read_text())
    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert "<odd>" not in page.read_text()
    assert "x &amp; y" in page.read_text()


def test_an_experiment_without_steps_has_an_empty_curve() -> None:
    ElementTree.fromstring(curves_svg([ResultFile(Path("new.jsonl"))]))


def test_a_file_with_unknown_fields_is_refused_before_anything_runs(clorad: Clorad, tmp_path: Path) -> None:
    (tmp_path / "try.toml").write_text("speed = 3\n[experiments.a]\n")
    refused = clorad("experiment", "run", "try.toml")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "speed" in refused.err


@pytest.mark.usefixtures("story")
def test_an_agent_that_users_talk_to_is_no_experiment(clorad: Clorad, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"weights")
    head = 'environment = ["true"]\ngroups = 2\nsamples = 2\nsteps = 1\n'
    (tmp_path / "try.toml").write_text(f"{head}[experiments.billing]\n")
    refused = clorad("experiment", "run", "try.toml", env={"CLORAD_ENGINE__BASE": str(base)})
    assert (refused.code, refused.err) == (
        1,
        "clorad: billing is an agent that users talk to: give the experiment another name\n",
    )
