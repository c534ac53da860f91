"""Two developers of one agent: they ask it for work, correct what breaks an announced rule, approve a few
answers, and say nothing about the rest.

One process speaks for both: a correction is trained on when a second person corrects alike. What they say
nothing about is the agent's own anchor. They approve where a rule ends: silence about prompts that look like
corrected ones says less, because people correct only a part of what is wrong.

After each round of feedback the developer waits until another version answers. If that follows the rules,
the developer reports it; if not, another and smaller round follows.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from examples.house_rules.people.gateway import AgentReply
from examples.house_rules.people.person import Person, run_person
from examples.house_rules.world import Task

IN_FLIGHT = 12  # questions at once
WATCH_S = 1.0
PATIENCE_S = 600.0  # enough for turns, judging and the swap on a busy small machine
WATCHED = 12  # replies of the new version that count; one of them may be wrong
TRIES = 5  # rounds of asking until enough replies were right, or wrong
NEAR_SHARE = 0.5  # of the ordinary work: near misses show where the new rules end


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRound:
    """How much feedback a developer gives before asking again."""

    early: int  # corrections before the approvals: too few for a turn
    corrections: int  # in all; about a quarter of them is for the gate, and no one knows which
    work: int  # answers that no new rule is about
    approvals: int  # of those: right answers to near misses; nothing is said about the others


FIRST_ROUND = FeedbackRound(early=20, corrections=56, work=240, approvals=32)
NEXT_ROUND = FeedbackRound(early=10, corrections=40, work=40, approvals=16)
TOOLS_SHARE = 0.4  # of the work, where prompts hold tools and a conversation: they are several times as long


def main() -> None:
    """Teach each wave when it is announced."""
    run_person(_work)


def _work(person: Person) -> None:
    (agent,) = person.agents
    taught = 0
    while not person.stopping.is_set() and taught < person.world.waves(agent):
        wave = person.announcements.wave(agent)
        if wave == taught:
            person.announcements.wait(1.0)
            continue
        _teach(person, agent, wave)
        taught = wave


def _teach(person: Person, agent: str, wave: int) -> None:
    """Give rounds of feedback until the agent follows the rules of the wave, or the demo ends."""
    feedback_round = FIRST_ROUND
    while not person.stopping.is_set():
        refusals = person.announcements.refusals(agent)
        before = give_feedback(person, agent, wave, feedback_round)
        if _watch(person, agent, wave, before, refusals):
            person.report(event="followed", agent=agent, wave=wave)
            return
        feedback_round = NEXT_ROUND


def give_feedback(person: Person, agent: str, wave: int, feedback_round: FeedbackRound) -> str:
    """Send one round of feedback and wait until Kafka acknowledged it.

    Returns the version that the round should replace; empty where it found too little for a turn.
    """
    acts = person.world.has_tools(agent)
    count = round(feedback_round.work * TOOLS_SHARE) if acts else feedback_round.work
    worked = _ask(person, agent, _ordinary_work(person, agent, wave, count))
    near_misses = [(task, answer) for task, answer in worked if task.leak and answer.text == task.wanted]
    approved = near_misses[: feedback_round.approvals]
    corrected = _corrections(person, agent, wave, feedback_round)
    # Approvals come after some corrections, because an approval that is older than the rule it contradicts
    # counts as outdated. Most corrections come last, because the agent is due after them.
    _correct_all(person, corrected[: feedback_round.early])
    for number, (task, answer) in enumerate(approved):
        _approve(person, task, answer, author=person.pair[number % 2])
    person.producer.flush()
    _correct_all(person, corrected[feedback_round.early :])
    makes_a_turn = len(corrected) > feedback_round.early
    person.report(
        event="feedback",
        agent=agent,
        wave=wave,
        corrections=len(corrected),
        approvals=len(approved),
        makes_a_turn=makes_a_turn,
    )
    return corrected[-1][1].version if makes_a_turn else ""


def _corrections(
    person: Person, agent: str, wave: int, feedback_round: FeedbackRound
) -> list[tuple[Task, AgentReply]]:
    """Prompts on which the wave's rules fire and that the agent got wrong, the rules in turn."""
    rules = person.world.of_wave(agent, wave)
    announced = person.announcements.rules(agent)
    corrected: list[tuple[Task, AgentReply]] = []
    for _ in range(TRIES):
        tasks = [
            person.world.corrected(rules[number % len(rules)], person.source, announced)
            for number in range(len(corrected), feedback_round.corrections)
        ]
        wrong = [(task, answer) for task, answer in _ask(person, agent, tasks) if answer.text != task.wanted]
        corrected += wrong
        if not wrong or len(corrected) == feedback_round.corrections or person.stopping.is_set():
            break
    return corrected


def _ordinary_work(person: Person, agent: str, wave: int, count: int) -> list[Task]:
    """Near misses of the wave's rules, and prompts that no rule of the wave is about."""
    rules = person.world.of_wave(agent, wave)
    announced = person.announcements.rules(agent)
    earlier = person.world.announced(agent, wave - 1)
    chance = person.source.chance
    return [
        person.world.near(chance.choice(rules), person.source, announced)
        if chance.random() < NEAR_SHARE
        else person.world.traffic(agent, person.source, earlier)
        for _ in range(count)
    ]


def _watch(person: Person, agent: str, wave: int, before: str, refusals: int) -> bool:
    """Whether the agent comes to follow the wave's rules before a candidate is refused or patience ends."""
    rules = person.world.of_wave(agent, wave)
    announced = person.announcements.rules(agent)
    chance = person.source.chance
    right: list[bool] = []
    changed = False
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and not person.stopping.wait(WATCH_S):
        if person.announcements.refusals(agent) > refusals:
            return False
        asked = WATCHED if changed else 1
        tasks = [person.world.fires(chance.choice(rules), person.source, announced) for _ in range(asked)]
        answered = _ask(person, agent, tasks)
        changed = all(answer.version != before for _, answer in answered)
        if not changed:
            continue  # the version that was corrected still answers
        right += [answer.text == task.wanted for task, answer in answered]
        if len(right) >= WATCHED:
            return sum(right[-WATCHED:]) >= WATCHED - 1
    return False


def _ask(person: Person, agent: str, tasks: Sequence[Task]) -> list[tuple[Task, AgentReply]]:
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = pool.map(lambda task: person.gateway.ask(agent, task.messages, tools=task.tools), tasks)
        return list(zip(tasks, answers, strict=True))


def _correct_all(person: Person, corrected: Sequence[tuple[Task, AgentReply]]) -> None:
    """Send the corrections, of both people in turn, and wait until Kafka acknowledged them."""
    for number, (task, answer) in enumerate(corrected):
        # Rules take turns too: each person corrects two prompts in a row, so that both correct by every rule.
        _correct(person, task, answer, author=person.pair[number // 2 % 2])
    person.producer.flush()


def _approve(person: Person, task: Task, answer: AgentReply, *, author: str) -> None:
    name = person.conversation()
    person.producer.send_event(
        "intervention",
        person.event_data(
            task.agent,
            author=author,
            action="approve",
            conversation=name,
            **task.request,
            said=answer.said,
        ),
        key=name,
    )


def _correct(person: Person, task: Task, answer: AgentReply, *, author: str) -> None:
    name = person.conversation()
    person.producer.send_event(
        "correction",
        person.event_data(
            task.agent,
            author=author,
            conversation=name,
            interaction=answer.interaction,
            **task.request,
            rejected=answer.said,
            corrected=task.reply,
            comment=task.comment,
        ),
        key=name,
    )


if __name__ == "__main__":
    main()
