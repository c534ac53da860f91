"""A developer of one agent: asks it for work, corrects what breaks an announced rule, approves what is right.

After each round the developer watches the agent; a rule that is followed is reported, one that is
still broken after a while gets another, smaller round.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from examples.house_rules.people.gateway import Answer
from examples.house_rules.people.person import Person, live
from examples.house_rules.people.roles import GATE, role_of
from examples.house_rules.world import Task

AT_ONCE = 6  # questions in flight
WATCH_S = 2.0
PATIENCE_S = 75.0  # a turn, its judging and the swap on a busy small machine
WATCHED = 12  # last answers looked at; one of them may be wrong
NEAR_SHARE = 0.5  # of the approvals: near misses of the new rules teach where they end


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """How much feedback a developer gives before looking again."""

    corrections: int
    gate_min: int  # of the corrections: what the gate can judge by
    approvals: int


FIRST = Round(corrections=40, gate_min=10, approvals=160)
AGAIN = Round(corrections=16, gate_min=8, approvals=32)


def main() -> None:
    """Teach wave after wave as they are announced."""
    live(_work)


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
    """The rules of the wave are followed afterwards, or the play is over."""
    effort = FIRST
    while not person.stopping.is_set():
        before = _give(person, agent, wave, effort)
        if _watch(person, agent, wave, before):
            person.report(event="followed", agent=agent, wave=wave)
            return
        effort = AGAIN


def _give(person: Person, agent: str, wave: int, effort: Round) -> str:
    """One round of feedback is acknowledged by Kafka. Returns the version it was about."""
    approved = _approvals(person, agent, wave, effort.approvals)
    corrected = _corrections(person, agent, wave, effort)
    # Approvals first: they hold what must not change while the corrections are learned.
    for task, answer in approved:
        _approve(person, task, answer)
    person.post.flush()
    for task, answer in corrected:
        _correct(person, task, answer)
    person.post.flush()
    person.report(
        event="feedback", agent=agent, wave=wave, corrections=len(corrected), approvals=len(approved)
    )
    return corrected[-1][1].version if corrected else ""


def _corrections(person: Person, agent: str, wave: int, effort: Round) -> list[tuple[Task, Answer]]:
    """Prompts on which the wave's rules fire and that the agent got wrong, enough of them for the gate."""
    rules = person.world.of_wave(agent, wave)
    announced = person.announcements.rules(agent)
    found: list[tuple[Task, Answer]] = []
    asked = 0

    def next_task() -> Task:
        nonlocal asked
        asked += 1
        return person.world.fires(rules[asked % len(rules)], person.source, announced)

    def missing() -> int:
        gate = sum(role_of(task.messages) == GATE for task, _ in found)
        return max(effort.corrections - len(found), 4 * (effort.gate_min - gate))

    while (wanted := missing()) > 0 and asked < 6 * effort.corrections and not person.stopping.is_set():
        answered = _ask(person, agent, next_task, wanted)
        found += [(task, answer) for task, answer in answered if answer.text != task.wanted]
    return found


def _approvals(person: Person, agent: str, wave: int, count: int) -> list[tuple[Task, Answer]]:
    """Right answers to near misses of the new rules and to ordinary work."""
    rules = person.world.of_wave(agent, wave)
    announced = person.announcements.rules(agent)
    earlier = person.world.announced(agent, wave - 1)
    chance = person.source.chance

    def next_task() -> Task:
        if chance.random() < NEAR_SHARE:
            return person.world.near(chance.choice(rules), person.source, announced)
        return person.world.traffic(agent, person.source, earlier)

    found: list[tuple[Task, Answer]] = []
    asked = 0
    while len(found) < count and asked < 3 * count and not person.stopping.is_set():
        wanted = count - len(found)
        asked += wanted
        answered = _ask(person, agent, next_task, wanted)
        found += [(task, answer) for task, answer in answered if answer.text == task.wanted]
    return found


def _watch(person: Person, agent: str, wave: int, before: str) -> bool:
    """Whether the rules of the wave are followed within a developer's patience."""
    rules = person.world.of_wave(agent, wave)
    announced = person.announcements.rules(agent)
    chance = person.source.chance
    seen: list[bool] = []
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and not person.stopping.wait(WATCH_S):
        answered = _ask(
            person, agent, lambda: person.world.fires(chance.choice(rules), person.source, announced), 4
        )
        if any(answer.version == before for _, answer in answered):
            seen.clear()  # the version that was corrected still answers
            continue
        seen += [answer.text == task.wanted for task, answer in answered]
        if len(seen) >= WATCHED and sum(seen[-WATCHED:]) >= WATCHED - 1:
            return True
    return False


def _ask(person: Person, agent: str, next_task: Callable[[], Task], count: int) -> list[tuple[Task, Answer]]:
    tasks = [next_task() for _ in range(count)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = pool.map(lambda task: person.gateway.ask(agent, task.messages), tasks)
        return list(zip(tasks, answers, strict=True))


def _approve(person: Person, task: Task, answer: Answer) -> None:
    name = person.conversation()
    person.post.say(
        "intervention",
        person.said(
            task.agent,
            action="approve",
            conversation=name,
            messages=task.messages,
            said=answer.text,
        ),
        key=name,
    )


def _correct(person: Person, task: Task, answer: Answer) -> None:
    name = person.conversation()
    person.post.say(
        "correction",
        person.said(
            task.agent,
            conversation=name,
            interaction=answer.interaction,
            messages=task.messages,
            rejected=answer.text,
            corrected=task.wanted,
            comment=task.comment,
        ),
        key=name,
    )


if __name__ == "__main__":
    main()
