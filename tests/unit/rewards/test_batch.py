"""What a turn and the gate's questions are made of."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ledger.events import KeptEvent, Role
from rewards.batch import TurnSelection, choose
from rewards.episode import Part
from rewards.suite import suite
from tests.unit.rewards.announced_rules import COUNT_ID, SOFT, Rule, build_task_where, is_about, wanted_reply
from tests.unit.rewards.events import build_approval, build_correction, build_interaction, build_intervention


def chosen(**given: Any) -> TurnSelection:
    empty = {"new": [], "taught": [], "approvals": [], "gate": [], "dev": [], "interactions": {}}
    return choose(**{**empty, "seed": 1, "replay_max": 64, "anchors_max": 160, **given})


def seqs(choice: TurnSelection, part: Part) -> list[int]:
    return [kept.seq for kept in choice.parts[part]]


class Wave:
    """Events of a wave in the example world, numbered from `start`."""

    def __init__(
        self, rules: Sequence[Rule], *, before: Sequence[Rule] = (), start: int = 0, seed: int = 0
    ) -> None:
        self.chance, self.rules, self.before, self.seq = random.Random(seed), list(rules), list(before), start

    def corrections(self, count: int, **more: Any) -> list[KeptEvent]:
        return [self._correction(self.rules[n % len(self.rules)], **more) for n in range(count)]

    def approvals(self, count: int, *, following: Sequence[Rule], **more: Any) -> list[KeptEvent]:
        """Replies by these rules, to any prompts but those the wave's people would correct."""
        found = []
        for _ in range(count):
            asked = build_task_where(self.chance, "sql", lambda one: self._is_right(one, following))
            self.seq += 1
            found.append(build_approval(self.seq, asked.prompt, wanted_reply(asked, list(following)), **more))
        return found

    def _correction(self, rule: Rule, **more: Any) -> KeptEvent:
        asked = build_task_where(self.chance, "sql", lambda one: is_about(rule, one))
        self.seq += 1
        right = wanted_reply(asked, [*self.before, *self.rules])
        return build_correction(self.seq, asked.prompt, wanted_reply(asked, self.before), right, **more)

    def _is_right(self, asked: Any, following: Sequence[Rule]) -> bool:
        return wanted_reply(asked, list(following)) == wanted_reply(asked, [*self.before, *self.rules])


def said_about(event: KeptEvent) -> str:
    return str(event.event.data["messages"][-1]["content"])


# ── anchors ───────────────────────────────────────────────────────────────────────────────────────


def test_half_of_the_anchors_are_near_misses_of_what_was_corrected() -> None:
    wave = Wave([SOFT])
    approvals = wave.approvals(160, following=[])
    anchors = chosen(new=wave.corrections(40), approvals=approvals, anchors_max=60).parts[Part.ANCHOR]
    near = [one for one in anchors if "tmp_" in said_about(one)]
    everywhere = [one for one in approvals if "tmp_" in said_about(one)]
    assert len(anchors) == 60
    assert len(near) / len(anchors) > 1.4 * len(everywhere) / len(approvals)
    assert len(anchors) - len(near) >= 25


def test_a_second_waves_anchors_say_what_the_first_taught_and_never_what_it_corrected() -> None:
    naive = Wave([], start=0, seed=3).approvals(120, following=[])  # from before anybody knew a rule
    first = Wave([SOFT], start=1000, seed=4)
    taught = first.corrections(40)
    since = first.approvals(120, following=[SOFT])  # the champion follows the rule now
    second = Wave([COUNT_ID], before=[SOFT], start=2000, seed=5)
    choice = chosen(new=second.corrections(40), taught=taught, approvals=[*naive, *since])
    anchors = choice.parts[Part.ANCHOR]
    assert any(one.event.data["said"].startswith("UPDATE") for one in anchors)
    assert any("tmp_" in said_about(one) and one.event.data["said"].startswith("DELETE") for one in anchors)
    old_habit = [
        one
        for one in anchors
        if one.event.data["said"].startswith("DELETE FROM") and "tmp_" not in said_about(one)
    ]
    assert old_habit == []
    assert not any("COUNT(*)" in one.event.data["said"] for one in anchors)


@pytest.mark.parametrize("given", ["new", "taught", "gate", "dev"])
def test_no_anchor_has_the_prompt_group_of_a_correction(given: str) -> None:
    corrections = [build_correction(1, "stop order 5", "no", "yes", prompt_group="p")]
    approvals = [
        build_approval(2, "stop order 5", "yes", prompt_group="p"),
        build_approval(3, "count users", "2"),
    ]
    assert seqs(chosen(**{given: corrections}, approvals=approvals), Part.ANCHOR) == [3]


def test_of_approvals_of_one_prompt_the_newest_is_kept() -> None:
    approvals = [build_approval(1, "count users", "1"), build_approval(2, "count users", "2")]
    assert seqs(chosen(approvals=approvals), Part.ANCHOR) == [2]


def test_approvals_of_gate_prompts_are_never_anchors() -> None:
    assert seqs(chosen(approvals=[build_approval(1, "count users", "1", role=Role.GATE)]), Part.ANCHOR) == []


def test_untaught_praise_of_sampled_words_rides_along_with_as_much_blame() -> None:
    approvals = [build_intervention(seq, "approve", interaction=f"i{seq}") for seq in (1, 2, 3)]
    interactions = {f"i{seq}": build_interaction(f"i{seq}", f"ask {seq}", "said") for seq in (1, 2, 3, 9)}
    blame = build_intervention(9, "reject", interaction="i9")
    choice = chosen(new=[blame], approvals=approvals, taught=[approvals[2]], interactions=interactions)
    assert seqs(choice, Part.NEW) == [2, 9]
    assert 2 not in seqs(choice, Part.ANCHOR)


# ── replay and dev ────────────────────────────────────────────────────────────────────────────────


def test_replay_takes_turns_over_the_rules_that_were_taught() -> None:
    soft = Wave([SOFT]).corrections(40)
    counts = Wave([COUNT_ID], before=[SOFT], start=100).corrections(6)
    replayed = chosen(taught=[*soft, *counts], replay_max=12).parts[Part.REPLAY]
    assert len(replayed) == 12
    assert sum(one.seq > 100 for one in replayed) == 6


def test_a_taught_correction_that_a_newer_rule_contradicts_is_not_replayed() -> None:
    star = replace_rule(COUNT_ID, lambda said: said.replace("(id)", "(1)"))
    taught = Wave([COUNT_ID]).corrections(20)
    new = Wave([star], before=[COUNT_ID], start=100, seed=2).corrections(20)
    assert seqs(chosen(new=new, taught=taught), Part.REPLAY) == []


def test_only_demonstrations_are_replayed() -> None:
    taught = [build_intervention(1, "reject"), build_correction(2, "ask", "no", "yes")]
    assert seqs(chosen(taught=taught), Part.REPLAY) == [2]


def test_dev_corrections_are_watched() -> None:
    dev = [build_correction(seq, f"ask {seq}", "no", "yes", role=Role.DEV) for seq in (1, 2)]
    assert seqs(chosen(dev=dev), Part.DEV) == [1, 2]


def test_the_same_arguments_choose_the_same_events_and_another_seed_others() -> None:
    wave = Wave([SOFT])
    given = {"approvals": wave.approvals(80, following=[]), "new": wave.corrections(10), "anchors_max": 20}
    assert chosen(**given) == chosen(**given)
    assert seqs(chosen(**given), Part.ANCHOR) != seqs(chosen(**given, seed=2), Part.ANCHOR)


# ── the gate's questions ──────────────────────────────────────────────────────────────────────────


def test_the_suite_asks_earlier_lessons_and_approved_replies_that_still_hold() -> None:
    gate = {"role": Role.GATE}
    naive = Wave([], seed=3).approvals(60, following=[], **gate)
    first = Wave([SOFT], start=1000, seed=4)
    lessons = first.corrections(30, **gate)
    since = first.approvals(60, following=[SOFT], **gate)
    second = Wave([COUNT_ID], before=[SOFT], start=2000, seed=5)
    new = second.corrections(40)
    questions = suite(
        approvals=[*naive, *since],
        taught_gate=lessons,
        new=new,
        corrections=[*lessons, *new],
        interactions={},
        seed=1,
        questions_max=48,
    )
    assert len(questions) == 48
    assert sum(1000 < question.seq <= 1030 for question in questions) == 16
    for question in questions:
        prompt = question.messages[-1]["content"]
        assert not ("tmp_" not in prompt and question.expected.startswith("DELETE"))
        assert "COUNT(*)" not in question.expected


def test_the_suite_never_asks_what_the_candidate_is_about() -> None:
    asked = {"role": Role.GATE, "prompt_group": "p"}
    found = suite(
        approvals=[
            build_approval(1, "stop order 5", "no", **asked),
            build_approval(2, "count users", "2", role=Role.GATE),
        ],
        taught_gate=[],
        new=[build_correction(3, "stop order 5", "no", "yes", **asked)],
        corrections=[],
        interactions={},
        seed=1,
        questions_max=8,
    )
    assert [question.seq for question in found] == [2]


def test_the_suite_asks_only_events_of_role_gate_and_takes_prompts_from_interactions_too() -> None:
    said = build_interaction("i", "ask", "no", role=Role.GATE)
    found = suite(
        approvals=[build_approval(1, "count users", "2")],
        taught_gate=[
            build_intervention(2, "override", {"corrected": "yes"}, interaction="i", role=Role.GATE)
        ],
        new=[],
        corrections=[],
        interactions={"i": said},
        seed=1,
        questions_max=8,
    )
    assert [(question.seq, question.messages, question.expected) for question in found] == [
        (2, said.messages, "yes")
    ]


def test_a_lesson_that_was_corrected_again_is_not_asked() -> None:
    lessons = [
        build_correction(seq, "ask", "no", reply, role=Role.GATE)
        for seq, reply in ((1, "yes"), (2, "perhaps"))
    ]
    found = suite(
        approvals=[],
        taught_gate=lessons,
        new=[],
        corrections=lessons,
        interactions={},
        seed=1,
        questions_max=8,
    )
    assert [question.expected for question in found] == ["perhaps"]


def replace_rule(rule: Rule, edit: Any) -> Rule:
    """A later rule about the same prompts."""
    return replace(rule, edit=edit)
