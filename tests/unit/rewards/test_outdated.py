"""Older approvals are outdated where a newer rule would change them, and only there."""

import random
from dataclasses import replace

import pytest

from rewards.outdated import RULE_CORRECTIONS_MIN, ApprovedReply, Corrected, outdated
from tests.unit.rewards.announced_rules import (
    COUNT_ID,
    LARGE,
    NOTIFY,
    PATHLIB,
    SOFT,
    VIP,
    WORDINGS,
    Rule,
    build_task,
    build_task_where,
    is_about,
    wanted_reply,
)


class People:
    """People approve an agent's replies and correct them by rules; `truth` are the outdated answers."""

    def __init__(self, agent: str, seed: int) -> None:
        self.agent, self.chance = agent, random.Random(seed)
        self.rules: list[Rule] = []
        self.seq = 0
        self.answers: list[ApprovedReply] = []
        self.corrections: list[Corrected] = []
        self.tasks = {}

    def approve(self, count: int, *, knowing: tuple[Rule, ...] = ()) -> None:
        """Approve replies of an agent that follows the taught rules, but none that the rules in `knowing`
        would change."""
        for _ in range(count):
            task = build_task_where(
                self.chance,
                self.agent,
                lambda candidate: not any(is_about(rule, candidate) for rule in knowing),
            )
            self.seq += 1
            self.tasks[self.seq] = task
            reply = wanted_reply(task, self.rules)
            self.answers.append(ApprovedReply(seq=self.seq, prompt=task.prompt, reply=reply))

    def correct(self, rule: Rule, count: int) -> None:
        for _ in range(count):
            task = build_task_where(self.chance, self.agent, lambda candidate: is_about(rule, candidate))
            self.seq += 1
            rejected = wanted_reply(task, self.rules)
            corrected = wanted_reply(task, [*self.rules, rule])
            self.corrections.append(
                Corrected(seq=self.seq, prompt=task.prompt, rejected=rejected, corrected=corrected)
            )

    def learn(self, *rules: Rule) -> None:
        self.rules += rules

    def outdated(self) -> set[int]:
        return set(outdated(self.answers, self.corrections))

    def truth(self) -> set[int]:
        return {
            answer.seq
            for answer in self.answers
            if wanted_reply(self.tasks[answer.seq], self.rules) != answer.reply
        }


RULES = [("support", NOTIFY), ("support", VIP), ("sql", SOFT), ("sql", COUNT_ID), ("coder", PATHLIB)]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("agent", "rule"), RULES)
def test_approvals_from_before_a_rule_are_outdated_exactly_where_the_rule_applies(
    agent: str, rule: Rule, seed: int
) -> None:
    people = People(agent, seed)
    people.approve(160)
    people.correct(rule, 40)
    people.learn(rule)
    assert people.truth()
    assert people.outdated() == people.truth()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("agent", "rule"), RULES)
def test_similar_prompts_approved_by_people_who_know_the_rule_stay(agent: str, rule: Rule, seed: int) -> None:
    people = People(agent, seed)
    people.approve(160, knowing=(rule,))
    people.correct(rule, 40)
    people.learn(rule)
    assert people.outdated() == set()


@pytest.mark.parametrize(("agent", "rule"), RULES)
def test_approvals_given_among_and_after_the_corrections_stay(agent: str, rule: Rule) -> None:
    people = People(agent, 4)
    people.correct(rule, 20)
    people.approve(60, knowing=(rule,))
    people.correct(rule, 20)
    people.learn(rule)
    people.approve(100)
    assert people.outdated() == set()


def test_an_approval_outdated_by_the_first_wave_is_outdated_in_every_later_one() -> None:
    people = People("sql", 5)
    people.approve(100)
    people.correct(SOFT, 40)
    people.learn(SOFT)
    first = people.outdated()
    people.approve(100)
    people.correct(COUNT_ID, 40)
    people.learn(COUNT_ID)
    assert first
    assert first < people.outdated()
    assert people.outdated() == people.truth()


def test_a_condition_on_the_number_of_digits_is_detected() -> None:
    people = People("support", 6)
    people.approve(200)
    people.correct(LARGE, 40)
    people.learn(LARGE)
    assert people.outdated() == people.truth()


def test_a_few_corrections_are_not_a_rule() -> None:
    people = People("coder", 7)
    people.approve(100)
    people.correct(PATHLIB, RULE_CORRECTIONS_MIN - 1)
    assert people.outdated() == set()


def test_an_older_answer_to_the_corrected_prompt_itself_is_outdated_by_one_correction() -> None:
    answers = [
        ApprovedReply(seq=1, prompt="Stop  order 5", reply="cancel 5"),
        ApprovedReply(seq=2, prompt="stop order 6", reply="cancel 6"),
        ApprovedReply(seq=0, prompt="ｓｔｏｐ order 5", reply="cancel 5"),
        ApprovedReply(seq=9, prompt="stop order 5", reply="cancel 5"),
    ]
    corrections = [Corrected(seq=3, prompt="stop order 5", rejected="cancel 5", corrected="ask first")]
    assert outdated(answers, corrections) == {0, 1}


def test_an_older_answer_that_agrees_with_the_correction_stays() -> None:
    answers = [ApprovedReply(seq=1, prompt="stop order 5", reply="ask first")]
    corrections = [Corrected(seq=3, prompt="stop order 5", rejected="cancel 5", corrected="ask first")]
    assert outdated(answers, corrections) == frozenset()


def test_prose_whose_corrections_always_differ_outdates_nothing() -> None:
    chance = random.Random(8)
    words = WORDINGS["read"][1].split() + WORDINGS["address"][2].split()
    prose = [" ".join(chance.sample(words, 7)) for _ in range(60)]
    answers = [
        ApprovedReply(seq=n, prompt=f"letter about {build_task(chance, 'sql').prompt}", reply=prose[n])
        for n in range(30)
    ]
    corrections = [
        Corrected(seq=100 + n, prompt=f"letter {n}", rejected=prose[30 + n], corrected=prose[59 - n])
        for n in range(30)
    ]
    assert len(outdated(answers, corrections)) <= 3


def told_by(*authors: str | None, prompt: str = "refund order {} for vip") -> list[Corrected]:
    """Corrections of refunds to the supervisor, one for each author, after ten answers."""
    return [
        Corrected(
            seq=100 + number,
            prompt=prompt.format(1000 + number),
            rejected=f"payback({1000 + number})",
            corrected=f"supervisor({1000 + number})",
            author=author,
        )
        for number, author in enumerate(authors)
    ]


APPROVED = [
    ApprovedReply(seq=seq, prompt=f"refund order {2000 + seq}{vip}", reply=f"payback({2000 + seq})")
    for seq, vip in enumerate([" for vip", ""] * 20)
]


@pytest.mark.parametrize(
    ("authors", "count"),
    [("a" * 30, 0), ("a" * 30 + "b" * 4, 0), ("a" * 30 + "b" * 5, 20), ("ab" * 5, 20), ("abc" * 3, 20)],
)
def test_a_rule_outdates_answers_once_it_is_one_without_any_one_author(authors: str, count: int) -> None:
    assert len(outdated(APPROVED, told_by(*authors))) == count


def test_those_who_count_alone_make_a_rule_alone() -> None:
    assert len(outdated(APPROVED, told_by(*[None] * 5))) == 20


def test_nobody_makes_a_rule_of_several_people_wider_alone() -> None:
    wider = told_by(*"m" * 20, prompt="refund order {}")
    assert len(outdated(APPROVED, [*told_by(*"ab" * 10), *wider])) == 20
    assert (
        len(outdated(APPROVED, [*told_by(*"mn" * 10), *told_by(*"mn" * 10, prompt="refund order {}")])) == 40
    )


def test_nobody_gives_replies_a_form_alone_by_which_a_rule_outdates_answers() -> None:
    answers = [
        ApprovedReply(seq=seq, prompt=f"drop order {2000 + seq}", reply=f"drop {2000 + seq}")
        for seq in range(20)
    ]

    def told(authors: str, prompt: str) -> list[Corrected]:
        return [
            Corrected(
                seq=100 + place,
                prompt=prompt.format(1000 + place),
                rejected=f"drop {1000 + place}",
                corrected=f"cancel {1000 + place}",
                author=author,
            )
            for place, author in enumerate(authors)
        ]

    rule = told("ab" * 10, "drop order {}")
    assert outdated(answers, rule) == frozenset(), "the replies only copy words of their prompts"
    assert outdated(answers, [*rule, *told("m" * 30, "get rid of order {}")]) == frozenset()
    assert len(outdated(answers, [*rule, *told("mn" * 15, "get rid of order {}")])) == 20


@pytest.mark.parametrize(
    ("approvers", "count"), [("ab", 20), ("abc", 20), ("abcd", 20), ("cd", 20), ("cde", 0), ("abcde", 0)]
)
def test_a_rule_outdates_nothing_where_more_others_approved_it_than_stand_behind_the_rule(
    approvers: str, count: int
) -> None:
    witnesses = [
        replace(answer, author=approvers[place % len(approvers)])
        for place, answer in enumerate(APPROVED)
        if "vip" in answer.prompt
    ]
    assert len(outdated(APPROVED, told_by(*"ab" * 5), witnesses=witnesses)) == count
    assert len(outdated(APPROVED, told_by(*[None] * 5), witnesses=witnesses)) == 20, "one is enough"


def test_approvals_that_a_rule_spares_or_that_came_after_it_do_not_count_against_it() -> None:
    spared = [replace(answer, author=f"x{answer.seq}") for answer in APPROVED if "vip" not in answer.prompt]
    later = [replace(answer, author=f"y{answer.seq}", seq=1000) for answer in APPROVED]
    assert len(outdated(APPROVED, told_by(*"ab" * 5), witnesses=[*spared, *later])) == 20
