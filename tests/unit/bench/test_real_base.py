"""The bench on a pretrained base: what people say in it, and what its figures count. No base is loaded."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from bench.prose_exam import decision
from bench.prose_feedback import EVIDENCE_NEEDED, FeedbackPlan, ProseFeedback, counted
from bench.prose_model import ProseReply
from bench.real_base import find_run, summarise
from engine.recipe import Recipe
from examples.real_base.prose_world import read_prose_world
from ledger.events import Role
from rewards.episode import Part, text_of
from rewards.exchange import asked


class PoliteModel:
    """A model that answers every prompt with a sentence of its own."""

    def replies(self, prompts: Any, *, tokens_max: int) -> list[ProseReply]:
        assert tokens_max > 0
        return [ProseReply(text=f"Thank you for saying {asked(prompt)}", ended=True) for prompt in prompts]


def build_feedback(*, shuffled: bool = False, corrections: int = 8) -> ProseFeedback:
    model: Any = PoliteModel()
    plan = FeedbackPlan(corrections=corrections, beside=32, shuffled=shuffled)
    feedback = ProseFeedback(world=read_prose_world(), agent="support", model=model, plan=plan, seed=1)
    feedback.ask(1)
    return feedback


def build_wave(**changes: Any) -> dict[str, Any]:
    return {
        "followed": {"1": 1.0},
        "near_leaked": 0.0,
        "near_leaked_by_base": 0.0,
        "decisions": 24,
        "decision_kept": 1.0,
        "kind_kept": 1.0,
        "kind_kept_by_samples": 0.9,
        "harmless": 1.0,
        "likeness": 0.9,
        "likeness_of_samples": 0.4,
        "kl_nats": 0.1,
        "verdict": "promote",
        "corrections_sent": 40,
        "trained_s": 100,
        **changes,
    }


def build_run(*waves: Mapping[str, Any], shuffled: bool = False) -> dict[str, Any]:
    return {"shuffled": shuffled, "waves_done": list(waves)}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ('{"tool":"refund","order":1}', "rule"),
        ('{"tool":', "rule"),
        ('{"city":"Verona"}', "json"),
        ("```python\nprint(1)\n```", "code"),
        ("def add(a, b):\n    return a + b", "code"),
        ("Verona, Italy.", "sentences"),
        ("I am sorry, but we are a furniture shop and not a bank.", "sentences"),
    ],
)
def test_a_reply_decides_by_its_kind_and_not_by_its_words(reply: str, kind: str) -> None:
    assert decision(reply, ('{"tool":',)) == kind


def test_each_rule_has_as_many_corrections_to_train_on_as_planned() -> None:
    lesson = build_feedback().lesson(1, parent=None, recipe=Recipe())
    new = [episode for episode in lesson.episodes if episode.part is Part.NEW]
    tools = Counter(episode.reply.text.split('"')[3] for episode in new)
    assert tools == {"refund": 8, "cancel": 8}


def test_anchors_are_replies_that_nobody_objected_to_and_never_a_wrong_one_about_a_rule() -> None:
    feedback = build_feedback(corrections=16)  # fewer leave out one of the wordings
    lesson = feedback.lesson(1, parent=None, recipe=Recipe())
    anchors = [text_of(one.messages[-1]) for one in lesson.episodes if one.part is Part.ANCHOR]
    world = feedback.world
    beside = {
        prompt.text
        for kind in ("near", "chat")
        for prompt in world.beside("support", kind, 16, seed="1 1", held_out=False)  # type: ignore[arg-type]
    }
    assert len(anchors) > 8
    assert set(anchors) <= beside


def test_the_gate_asks_about_held_out_corrections_and_replies_only() -> None:
    feedback = build_feedback()
    asked = feedback.questions()
    role_by_uid = {kept.event.uid: kept.event.role for kept in feedback.kept}
    assert asked.gate
    assert asked.suite
    assert {role_by_uid[question.uid] for question in asked.gate} == {Role.GATE}


def test_shuffled_corrections_have_the_texts_of_other_prompts_and_are_trained_on() -> None:
    right, wrong = (build_feedback(shuffled=shuffled) for shuffled in (False, True))
    pairs = list(zip(right.kept, wrong.kept, strict=True))
    assert all(
        one.event.data["corrected"] != other.event.data["corrected"]
        and one.event.data["messages"] == other.event.data["messages"]
        for one, other in pairs
    )
    assert wrong.lesson(1, parent=None, recipe=Recipe()).episodes


def test_figures_are_means_of_the_last_wave_and_changes_of_earlier_ones() -> None:
    first, second = build_wave(), build_wave(followed={"1": 0.9, "2": 0.7}, near_leaked=0.1)
    figures = summarise([build_run(first, second), build_run(build_wave(verdict="refuse"), shuffled=True)])
    assert figures["followed"] == pytest.approx(0.8)
    assert figures["bwt_pp"] == pytest.approx(-10.0)
    assert figures["near_miss_over_base_pp"] == pytest.approx(10.0)
    assert (figures["control_promoted"], figures["control_candidates"]) == (0, 1)
    assert (figures["good_promoted_share"], figures["good_candidates"]) == (1.0, 1)


def test_a_promoted_control_is_counted() -> None:
    assert (
        summarise([build_run(build_wave()), build_run(build_wave(), shuffled=True)])["control_promoted"] == 1
    )


def test_what_was_not_measured_is_none() -> None:
    figures = summarise([build_run({"not_learned": "nothing new to learn from", "trained_s": 1})])
    assert (figures["runs"], figures["learned"]) == (1, 0)
    assert {figures["followed"], figures["bwt_pp"], figures["good_promoted_share"]} == {None}
    json.dumps(figures, allow_nan=False)


def test_a_run_without_spans_is_another_run_and_older_runs_had_them() -> None:
    older, without = {"agent": "coder", "seed": 1}, {"agent": "coder", "seed": 1, "spans": False}
    assert find_run([older, without], {"agent": "coder", "seed": 1, "spans": True}) is older
    assert find_run([older, without], {"agent": "coder", "seed": 1, "spans": False}) is without
    assert find_run([older], {"agent": "coder", "seed": 1, "spans": False}) is None


@pytest.mark.parametrize("agent", ["support", "coder", "writer"])
@pytest.mark.parametrize("wave", [1, 2])
def test_people_correct_until_the_gate_can_decide_and_a_turn_learns_from_no_more_than_planned(
    agent: str, wave: int
) -> None:
    model: Any = PoliteModel()
    world = read_prose_world()
    plan = FeedbackPlan(corrections=16, beside=8)
    feedback = ProseFeedback(world=world, agent=agent, model=model, plan=plan, seed=1)
    feedback.ask(wave)
    lesson = feedback.lesson(wave, parent=None, recipe=Recipe())
    assert counted(lesson)["new"] == 16 * len(world.of_wave(agent, wave)), "two people stand behind each"
    assert len(feedback.questions().gate) >= EVIDENCE_NEEDED
    assert feedback.sent >= len(feedback.kept)
