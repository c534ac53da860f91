"""The numbered examples run from top to bottom, and say what their texts promise."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.kafka.broker import free_port
from deploy.kafka.mock import API_VERSION, MockCluster
from feedback.topics import Topics
from tests.fakes.vllm import FakeVLLM
from tests.integration.example_stage import ROOT, build_stage, run_example

FILES = sorted((ROOT / "examples").glob("0*.py"))
LINES_MAX = 60

Example = Callable[..., str]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("examples")
    with build_stage(folder) as url:
        yield folder, url


@pytest.fixture
def example(
    stage: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Example:
    """Runs one example beside a running clorad, and gives what it printed."""
    folder, url = stage

    def run(name: str, *words: str) -> str:
        monkeypatch.setenv("GATEWAY_URL", url)
        run_example(name, *words, folder=folder, patch=monkeypatch)
        return capfd.readouterr().out

    return run


def test_there_is_one_example_for_each_number() -> None:
    assert [file.name[:2] for file in FILES] == ["01", "02", "03", "04", "05", "06"]
    assert all(len(file.read_text().splitlines()) <= LINES_MAX for file in FILES)
    listed = re.findall(r"\]\((0[^)]+\.py)\)", (ROOT / "examples" / "README.md").read_text())
    assert listed == [file.name for file in FILES]


def test_one_correction_has_a_receipt(example: Example) -> None:
    printed = example("01-one-correction.py", "one")
    assert "became  waiting to be trained on" in printed or "became  kept for judging" in printed
    assert "by ann" in printed


def test_an_operators_turns_are_stored(example: Example) -> None:
    printed = example("02-an-operator-takes-over.py", "two")
    assert "operator  Parcel 77 is in Lyon. It arrives tomorrow." in printed
    assert "takeover for two by olga" in printed


def test_a_bad_batch_is_refused_and_answers_stay(example: Example) -> None:
    printed = example("03-a-bad-batch.py", "three")
    assert re.search(r"refused +gate .*harm: \d+ of \d+ prompts became worse", printed)
    assert printed.endswith("weather in Lyon: I heard: weather in Lyon\n")


def test_a_version_serves_and_is_taken_back(example: Example) -> None:
    printed = example("04-roll-back.py", "four")
    answers = re.findall(r"^(v\d)\S*  cancel order 7: (.*)$", printed, re.MULTILINE)
    assert answers == [
        ("v0", "I heard: cancel order 7"),
        ("v1", '{"tool": "cancel", "order": 7}'),
        ("v0", "I heard: cancel order 7"),
    ]
    assert "rolled back" in printed


def test_a_scorer_scores_three_answers(example: Example) -> None:
    points = [line.split()[0] for line in example("05-your-own-scorer.py").splitlines()]
    assert points == ["1.0", "0.5", "0.0"]


def test_all_roles_run_on_a_kafka_and_a_vllm_given_by_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster, replica = MockCluster(), FakeVLLM()
    monkeypatch.setenv("KAFKA_BOOTSTRAP", cluster.start())
    cluster.make(Topics().retention_days())  # it can create none itself
    monkeypatch.setenv("CLORAD_KAFKA__OPTIONS", json.dumps({"api_version": API_VERSION}))
    monkeypatch.setenv("VLLM_URL", replica.url)
    monkeypatch.setenv("PORT", str(free_port()))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setenv("CLORAD_GATEWAY__LEAVE_S", "0")
    # The learner would load torch and the base.
    words = ("base", "--without", "learner", "--without", "dashboard")
    run_example("06-own-kafka-and-vllm.py", *words, folder=tmp_path, patch=monkeypatch)
    printed = capfd.readouterr().out
    assert "v0 answered; the correction is clorad-client#" in printed
    assert "assistant" in printed
    replica.kill()
    cluster.stop()
