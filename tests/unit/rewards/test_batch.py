"""Which events a turn and the no-harm suite are made of."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ledger.events import KeptEvent, Role
from rewards.batch import TurnSelection, choose
from rewards.episode import Part
from rewards.exchange import History
from rewards.suite import suite
from rewards.supporters import find_supporters
from tests.unit.rewards.announced_rules import COUNT_ID, SOFT, Rule, build_task_where, is_about, wanted_reply
from tests.unit.rewards.events import (
    ONE_IS_ENOUGH,
    build_approval,
    build_correction,
    build_interaction,
    build_intervention,
)


def choose_events(**given: Any) -> TurnSelection:
    empty = {"new": [], "taught": [], "approvals": [], "gate": [], "dev": [], "interactions": {}}
    empty |= {"supporters": ONE_IS_ENOUGH}
    return choose(**{**empty, "seed": 1, "replay_max": 64, "anchors_max": 160, **given})


def seqs(choice: TurnSelection, part: Part) -> list[int]:
    return [kept.seq for kept in choice.parts[part]]


class Wave:
    """Builds events of one wave of corrections in the example world, numbered from `start`."""

    def __init__(
        self, rules: Sequence[Rule], *, before: Sequence[Rule] = (), start: int = 0, seed: int = 0
    ) -> None:
        self.chance, self.rules, self.before, self.seq = random.Random(seed), list(rules), list(before), start

    def corrections(self, count: int, **more: Any) -> list[KeptEvent]:
        return [self._correction(self.rules[n % len(self.rules)], **more) for n in range(count)]

    def approvals(self, count: int, *, following: Sequence[Rule], **more: Any) -> list[KeptEvent]:
        """Approved replies that follow these rules, to prompts that the wave's rules do not change."""
        approvals = []
        for _ in range(count):
            task = build_task_where(
                self.chance, "sql", lambda candidate: self._is_right(candidate, following)
            )
            self.seq += 1
            approvals.append(
                build_approval(self.seq, task.prompt, wanted_reply(task, list(following)), **more)
            )
        return approvals

    def _correction(self, rule: Rule, **more: Any) -> KeptEvent:
        task = build_task_where(self.chance, "sql", lambda candidate: is_about(rule, candidate))
        self.seq += 1
        right = wanted_reply(task, [*self.before, *self.rules])
        return build_correction(self.seq, task.prompt, wanted_reply(task, self.before), right, **more)

    def _is_right(self, task: Any, following: Sequence[Rule]) -> bool:
        return wanted_reply(task, list(following)) == wanted_reply(task, [*self.before, *self.rules])


def prompt_text(event: KeptEvent) -> str:
    return str(event.event.data["messages"][-1]["content"])


# ── anchors ───────────────────────────────────────────────────────────────────────────────────────


def test_half_of_the_anchors_are_similar_to_the_corrected_prompts() -> None:
    wave = Wave([SOFT])
    approvals = wave.approvals(160, following=[])
    anchors = choose_events(new=wave.corrections(40), approvals=approvals, anchors_max=60).parts[Part.ANCHOR]
    similar = [kept for kept in anchors if "tmp_" in prompt_text(kept)]
    similar_approvals = [kept for kept in approvals if "tmp_" in prompt_text(kept)]
    assert len(anchors) == 60
    assert len(similar) / len(anchors) > 1.4 * len(similar_approvals) / len(approvals)
    assert len(anchors) - len(similar) >= 25


def test_anchors_of_a_second_wave_follow_the_rule_of_the_first() -> None:
    naive = Wave([], start=0, seed=3).approvals(120, following=[])  # from before anybody knew a rule
    first = Wave([SOFT], start=1000, seed=4)
    taught = first.corrections(40)
    later = first.approvals(120, following=[SOFT])  # the champion follows the rule now
    second = Wave([COUNT_ID], before=[SOFT], start=2000, seed=5)
    choice = choose_events(new=second.corrections(40), taught=taught, approvals=[*naive, *later])
    anchors = choice.parts[Part.ANCHOR]
    assert any(anchor.event.data["said"].startswith("UPDATE") for anchor in anchors)
    assert any(
        "tmp_" in prompt_text(anchor) and anchor.event.data["said"].startswith("DELETE") for anchor in anchors
    )
    old_habit = [
        anchor
        for anchor in anchors
        if anchor.event.data["said"].startswith("DELETE FROM") and "tmp_" not in prompt_text(anchor)
    ]
    assert old_habit == []
    assert not any("COUNT(*)" in anchor.event.data["said"] for anchor in anchors)


@pytest.mark.parametrize("given", ["new", "taught", "gate", "dev"])
def test_no_anchor_has_the_prompt_group_of_a_correction(given: str) -> None:
    corrections = [build_correction(1, "stop order 5", "no", "yes", prompt_group="p")]
    approvals = [
        build_approval(2, "stop order 5", "yes", prompt_group="p"),
        build_approval(3, "count users", "2"),
    ]
    assert seqs(choose_events(**{given: corrections}, approvals=approvals), Part.ANCHOR) == [3]


def test_of_several_approvals_of_one_prompt_the_newest_is_the_anchor() -> None:
    approvals = [build_approval(1, "count users", "1"), build_approval(2, "count users", "2")]
    assert seqs(choose_events(approvals=approvals), Part.ANCHOR) == [2]


def test_approvals_of_gate_prompts_are_never_anchors() -> None:
    assert (
        seqs(choose_events(approvals=[build_approval(1, "count users", "1", role=Role.GATE)]), Part.ANCHOR)
        == []
    )


def test_as_many_untaught_approvals_of_sampled_replies_are_added_as_there_are_rejections() -> None:
    approvals = [build_intervention(seq, "approve", interaction=f"i{seq}") for seq in (1, 2, 3)]
    interactions = {f"i{seq}": build_interaction(f"i{seq}", f"ask {seq}", "said") for seq in (1, 2, 3, 9)}
    rejection = build_intervention(9, "reject", interaction="i9")
    choice = choose_events(
        new=[rejection], approvals=approvals, taught=[approvals[2]], interactions=interactions
    )
    assert seqs(choice, Part.NEW) == [2, 9]
    assert 2 not in seqs(choice, Part.ANCHOR)


# ── replay and dev ────────────────────────────────────────────────────────────────────────────────


def test_replay_draws_from_each_taught_rule_in_turn() -> None:
    soft = Wave([SOFT]).corrections(40)
    counts = Wave([COUNT_ID], before=[SOFT], start=100).corrections(6)
    replayed = choose_events(taught=[*soft, *counts], replay_max=12).parts[Part.REPLAY]
    assert len(replayed) == 12
    assert sum(kept.seq > 100 for kept in replayed) == 6


def test_a_taught_correction_that_a_newer_rule_contradicts_is_not_replayed() -> None:
    star = replace_rule(COUNT_ID, lambda reply: reply.replace("(id)", "(1)"))
    taught = Wave([COUNT_ID]).corrections(20)
    new = Wave([star], before=[COUNT_ID], start=100, seed=2).corrections(20)
    assert seqs(choose_events(new=new, taught=taught), Part.REPLAY) == []


def test_only_demonstrations_are_replayed() -> None:
    taught = [build_intervention(1, "reject"), build_correction(2, "ask", "no", "yes")]
    assert seqs(choose_events(taught=taught), Part.REPLAY) == [2]


def test_dev_corrections_are_in_the_dev_part() -> None:
    dev = [build_correction(seq, f"ask {seq}", "no", "yes", role=Role.DEV) for seq in (1, 2)]
    assert seqs(choose_events(dev=dev), Part.DEV) == [1, 2]


def test_the_same_arguments_choose_the_same_events_and_another_seed_others() -> None:
    wave = Wave([SOFT])
    given = {"approvals": wave.approvals(80, following=[]), "new": wave.corrections(10), "anchors_max": 20}
    assert choose_events(**given) == choose_events(**given)
    assert seqs(choose_events(**given), Part.ANCHOR) != seqs(choose_events(**given, seed=2), Part.ANCHOR)


# ── the gate's questions ──────────────────────────────────────────────────────────────────────────


def test_the_suite_has_earlier_corrections_and_approved_replies_that_are_not_outdated() -> None:
    gate = {"role": Role.GATE}
    naive = Wave([], seed=3).approvals(60, following=[], **gate)
    first = Wave([SOFT], start=1000, seed=4)
    taught_gate = first.corrections(30, **gate)
    later = first.approvals(60, following=[SOFT], **gate)
    second = Wave([COUNT_ID], before=[SOFT], start=2000, seed=5)
    new = second.corrections(40)
    questions = suite(
        approvals=[*naive, *later],
        taught_gate=taught_gate,
        new=new,
        corrections=[*taught_gate, *new],
        interactions={},
        supporters=ONE_IS_ENOUGH,
        seed=1,
        questions_max=48,
    )
    assert len(questions) == 48
    assert sum(1000 < question.seq <= 1030 for question in questions) == 16
    for question in questions:
        prompt = question.messages[-1]["content"]
        assert not ("tmp_" not in prompt and question.expected.startswith("DELETE"))
        assert "COUNT(*)" not in question.expected


def test_the_suite_has_no_prompt_group_of_the_new_corrections() -> None:
    same_group = {"role": Role.GATE, "prompt_group": "p"}
    questions = suite(
        approvals=[
            build_approval(1, "stop order 5", "no", **same_group),
            build_approval(2, "count users", "2", role=Role.GATE),
        ],
        taught_gate=[],
        new=[build_correction(3, "stop order 5", "no", "yes", **same_group)],
        corrections=[],
        interactions={},
        supporters=ONE_IS_ENOUGH,
        seed=1,
        questions_max=8,
    )
    assert [question.seq for question in questions] == [2]


def test_the_suite_asks_only_events_of_role_gate_and_takes_prompts_from_interactions_too() -> None:
    interaction = build_interaction("i", "ask", "no", role=Role.GATE)
    questions = suite(
        approvals=[build_approval(1, "count users", "2")],
        taught_gate=[
            build_intervention(2, "override", {"corrected": "yes"}, interaction="i", role=Role.GATE)
        ],
        new=[],
        corrections=[],
        interactions={"i": interaction},
        supporters=ONE_IS_ENOUGH,
        seed=1,
        questions_max=8,
    )
    assert [(question.seq, question.messages, question.expected) for question in questions] == [
        (2, interaction.messages, "yes")
    ]


def test_a_correction_that_was_corrected_again_is_not_in_the_suite() -> None:
    taught_gate = [
        build_correction(seq, "ask", "no", reply, role=Role.GATE)
        for seq, reply in ((1, "yes"), (2, "perhaps"))
    ]
    questions = suite(
        approvals=[],
        taught_gate=taught_gate,
        new=[],
        corrections=taught_gate,
        interactions={},
        supporters=ONE_IS_ENOUGH,
        seed=1,
        questions_max=8,
    )
    assert [question.expected for question in questions] == ["perhaps"]


def replace_rule(rule: Rule, edit: Any) -> Rule:
    """A later rule about the same prompts."""
    return replace(rule, edit=edit)


@pytest.mark.parametrize(("approvers", "guards"), [("ab", 0), ("cd", 0), ("cde", 4)])
def test_a_rule_against_what_more_people_approved_takes_nothing_out_of_the_suite(
    approvers: str, guards: int
) -> None:
    approvals = [
        build_approval(
            seq,
            f"stop order {2000 + seq}",
            f"cancel({2000 + seq})",
            author=approvers[seq % len(approvers)],
            role=Role.GATE if seq < 4 else Role.TRAIN,
        )
        for seq in range(12)
    ]
    new = [
        build_correction(
            100 + place,
            f"stop order {1000 + place}",
            f"cancel({1000 + place})",
            f"refund({1000 + place})",
            author=author,
        )
        for place, author in enumerate("ab" * 5)
    ]
    questions = suite(
        approvals=approvals[:4],
        trained_approvals=approvals[4:],
        taught_gate=[],
        new=new,
        corrections=[],
        interactions={},
        supporters=find_supporters(new, history=History(interactions={}, conversations={}), authors_min=2),
        seed=1,
        questions_max=8,
    )
    assert len(questions) == guards
