"""The published protocols: rows, what the figures compare, and that finished parts are kept. No base."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.prose_model import AnswerReading, ProseReply
from bench.protocol_rows import FACTS, LATER_FACTS, rows_of
from bench.protocols import ProtocolRunner, facts_report, is_right, run_facts, run_tasks, tasks_report


class RememberingModel:
    """Knows the rows of the version that it answers with, and nothing else."""

    def __init__(self, versions: dict[str, set[str]], answers: dict[str, str]) -> None:
        self._versions, self._answers = versions, answers
        self._known: set[str] = set()

    def use(self, version: Path) -> None:
        self._known = self._versions[str(version)]

    def read(self, prompts: Any, answers: Any) -> list[AnswerReading]:
        def reading(prompt: Any) -> AnswerReading:
            knows = prompt[-1]["content"] in self._known
            loss_nats = 0.5 if knows else 2.0
            return AnswerReading(first_choice=knows, same_share=1.0, kl_nats=0.0, loss_nats=loss_nats)

        return [reading(prompt) for prompt in prompts]

    def replies(self, prompts: Any, *, tokens_max: int) -> list[ProseReply]:
        questions = [prompt[-1]["content"] for prompt in prompts]
        return [
            ProseReply(text=self._answers[question] if question in self._known else "Hm.", ended=True)
            for question in questions
        ]


class RememberingRunner(ProtocolRunner):
    """Versions know exactly what their last lesson said."""

    __slots__ = ()

    def teach(self, name: str, new: Any, replay: Any, parent: Path | None) -> str:
        versions = self.model()._versions  # type: ignore[attr-defined]
        version = f"/versions/{name}-{len(versions)}"
        versions[version] = {row.question for row in (*new, *replay)}
        return version


def build_runner(folder: Path) -> RememberingRunner:
    answers = {fact.questions[0]: fact.answer for fact in FACTS}
    model: Any = RememberingModel({}, answers)
    engine: Any = None
    return RememberingRunner(
        engine=lambda: engine, model=lambda: model, recipe={}, file=folder / "runs.jsonl"
    )


def test_the_rows_of_both_tasks_are_different_questions_and_always_the_same() -> None:
    for rows in (rows_of("products", 80), rows_of("cities", 80)):
        assert len({row.question for row in rows}) == 80
    assert rows_of("products", 80) == rows_of("products", 80)
    assert rows_of("cities", 60) == rows_of("cities", 80)[:60]


def test_five_facts_are_asked_for_in_four_wordings_each_and_fifteen_follow() -> None:
    questions = [question for fact in FACTS for question in fact.questions]
    assert (len(FACTS), len(set(questions)), len(LATER_FACTS)) == (5, 20, 15)
    assert all(is_right(fact.answer, fact) for fact in FACTS)
    assert not any(is_right(question, fact) for fact in FACTS for question in fact.questions)
    assert not any(is_right(answer, fact) for fact in FACTS for answer in LATER_FACTS.values())


def test_a_task_that_is_not_replayed_is_forgotten_and_one_that_is_stays(tmp_path: Path) -> None:
    report = run_tasks(build_runner(tmp_path), 20)
    assert report["relative_change"] == {
        "without_replay": 3.0,
        "with_replay": 0.0,
        "replay_against_none": -0.75,
        "b_for_replay": 0.0,
    }
    assert report["forgets_without_replay"]
    assert report["replay_keeps_more"]
    assert report["published_relative_change"] == {"without_replay": 0.0447, "with_replay": -0.0268}


def test_facts_stay_over_all_rounds_with_replay_and_are_gone_without(tmp_path: Path) -> None:
    assert run_facts(build_runner(tmp_path), 4, replay=True)["right_by_round"] == [5, 5, 5, 5]
    assert run_facts(build_runner(tmp_path), 4, replay=False)["right_by_round"] == [5, 0, 0, 0]


def test_finished_parts_are_read_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_facts(build_runner(tmp_path), 2, replay=True)
    lines = (tmp_path / "runs.jsonl").read_text()
    capsys.readouterr()
    assert run_facts(build_runner(tmp_path), 2, replay=True) == first
    assert (tmp_path / "runs.jsonl").read_text() == lines
    assert capsys.readouterr().out == ""


def test_decay_is_counted_from_the_first_and_from_the_best_round() -> None:
    report = facts_report([12, 17, 16, 15])
    assert (report["first_round_with_16"], report["right_at_end"]) == (2, 15)
    assert (report["lost_since_first_round"], report["lost_since_best_round"]) == (-3, 2)
    assert facts_report([3])["first_round_with_16"] is None


def test_the_signs_are_those_of_the_changes() -> None:
    first, worse, better = ({"a": a, "b": 0.7} for a in (0.5, 0.6, 0.4))
    report = tasks_report(first, better, worse)
    assert not report["forgets_without_replay"]
    assert not report["replay_keeps_more"]
    json.dumps(report, allow_nan=False)
