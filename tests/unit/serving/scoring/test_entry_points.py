"""Scorers of the user's own as functions, in processes of their own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.scoring.entry_points import EntryPointScorer, entry_point_names
from serving.scoring.own import NoScore
from tests.unit.serving.scoring.scorer_builder import install_functions

MESSAGES = [{"role": "user", "content": "what does it cost?"}]
Open = Callable[[str], EntryPointScorer]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    install_functions(tmp_path, monkeypatch, absent="no_such_module:none", broken="tests_own_scorers:none")
    scorers: list[EntryPointScorer] = []

    def open_scorer(name: str) -> EntryPointScorer:
        scorers.append(EntryPointScorer(name, wait_s_max=1.0))
        return scorers[-1]

    yield open_scorer
    for scorer in scorers:
        scorer.close()


def test_installed_scorers_are_listed_without_importing_them(opened: Open) -> None:
    assert {"length", "hangs", "absent"} <= set(entry_point_names())


def test_a_function_scores_answers_and_its_process_is_used_again(opened: Open) -> None:
    scorer = opened("length")
    assert scorer.score(MESSAGES, "four", ["fo", "four"]).values == (0.5, 1.0)
    worker = scorer._worker
    assert scorer.score(MESSAGES, "four" * 100_000, ["", "f" * 200_000]).values == (0.0, 0.5)
    assert scorer._worker is worker


def test_what_a_function_prints_is_no_answer(opened: Open, capfd: pytest.CaptureFixture[str]) -> None:
    assert opened("loud").score(MESSAGES, "x", ["a", "b"]).values == (1.0, 0.5)
    assert capfd.readouterr() == ("", "")


def test_truth_values_from_a_generator_are_numbers(opened: Open) -> None:
    assert opened("passes").score(MESSAGES, "x", ["x", "y"]).values == (1.0, 0.0)


def test_a_function_does_not_see_the_settings_of_clorad(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLORAD_FLEET__API_KEY", "secret")
    assert opened("secrets").score(MESSAGES, "x", ["a", "b"]).values == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("raises", "it raised ValueError"),
        ("ends", "its process ended"),
        ("leaves", "its process ended"),
        ("hangs", "silent for 1 s"),
        ("not-a-number", "outside 0 to 1"),
        ("too-much", "outside 0 to 1"),
        ("too-few", "no list of 2 numbers"),
        ("words", "it raised ValueError"),
        ("nothing", "it raised TypeError"),
        ("absent", "it raised ModuleNotFoundError"),
        ("broken", "it raised AttributeError"),
    ],
)
def test_whatever_a_function_does_there_is_no_score_and_nobody_is_quoted(
    opened: Open, name: str, why: str
) -> None:
    scorer = opened(name)
    for _ in range(2):
        with pytest.raises(NoScore) as missing:
            scorer.score(MESSAGES, "secret words", ["a", "b"])
        assert why in str(missing.value)
        assert "secret" not in str(missing.value)


def test_a_function_that_failed_is_asked_again(opened: Open) -> None:
    scorer = opened("moody")
    with pytest.raises(NoScore, match="KeyError"):
        scorer.score(MESSAGES, "moody", ["a"])
    assert scorer.score(MESSAGES, "calm", ["a"]).values == (0.25,)


def test_no_process_is_left_behind(opened: Open) -> None:
    scorer = opened("hangs")
    with pytest.raises(NoScore):
        scorer.score(MESSAGES, "x", ["a"])
    scorer.close()
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True, check=False
    )
    assert "serving.scoring.worker" not in children.stdout
