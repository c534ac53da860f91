"""One person cannot teach an agent in the rehearsal either: the reproduction of an attack, with its world."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.lesson import Learned, Lesson
from examples.house_rules.demo import SHOP
from examples.house_rules.simulated_feedback import Method, SimulatedFeedback
from examples.house_rules.world import Task
from examples.house_rules.world_file import read_world
from rewards.episode import Part

EVIL = ('"tool":"cancel","order":<order>,"notify":true', '"tool":"refund","order":<order>,"amount":99')


class UntaughtAgent:
    """An agent that answers everything right but what it is corrected about, and must not be trained."""

    def said(self, tasks: Sequence[Task]) -> list[str]:
        return ["no" if task.comment else task.wanted for task in tasks]

    def learn(self, _lesson: Lesson) -> Learned:
        raise AssertionError("one person's corrections are not trained on")


@pytest.mark.parametrize("authors_min", [2, 3])
def test_what_one_person_teaches_is_not_trained(tmp_path: Path, authors_min: int) -> None:
    evil = tmp_path / "evil.toml"
    text = SHOP.read_text().replace(*EVIL).replace("../../base_model", str(SHOP.parents[2] / "base_model"))
    assert "99" in text
    evil.write_text(text)
    agent: Any = UntaughtAgent()
    method = Method(authors=1, authors_min=authors_min)
    feedback = SimulatedFeedback(read_world(evil), "support", agent, seed=1, method=method)
    assert feedback.teach(1) is None


class Stop(Exception):
    """The lesson is known; nothing is trained."""


class ListeningAgent(UntaughtAgent):
    """An agent that keeps the lesson it is given."""

    version = None

    def replies(self, prompts: Sequence[Any]) -> list[str]:
        return ["" for _ in prompts]

    def learn(self, lesson: Lesson) -> Learned:
        self.lesson = lesson
        raise Stop


def test_without_approvals_anchors_are_right_replies_that_nobody_objected_to() -> None:
    agent: Any = ListeningAgent()
    method = Method(corrections=25, corrected_share=0.3)
    feedback = SimulatedFeedback(read_world(SHOP), "sql", agent, seed=1, method=method)
    with pytest.raises(Stop):
        feedback.teach(1)
    by_part = {part: [one for one in agent.lesson.episodes if one.part is part] for part in Part}
    assert len(by_part[Part.NEW]) == 25
    assert len(by_part[Part.ANCHOR]) > 25
    assert not any(anchor.reply.text == "no" for anchor in by_part[Part.ANCHOR])
