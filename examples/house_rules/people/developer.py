"""A developer of one agent: asks it for work, corrects what breaks an announced rule, approves what is right.

After each round the developer watches the agent; a rule that is followed is reported, one that is
still broken after a while gets another, smaller round.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from examples.house_rules.people.gateway import AgentReply
from examples.house_rules.people.person import Person, live
from examples.house_rules.people.roles import DEV, GATE, TRAIN, role_of
from examples.house_rules.world import Task

AT_ONCE = 6  # questions in flight
WATCH_S = 3.0
PATIENCE_S = 300.0  # turns, judging and the swap on a busy small machine
ASKED = 6  # at each look, once another version answers
WATCHED = 12  # answers of the new version looked at; one of them may be wrong
TRIES = 5  # rounds of asking until enough was right, or wrong
NEAR_SHARE = 0.5  # of the approvals: near misses of the new rules teach where they end


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """How much feedback a developer gives before looking again."""

    corrections: Mapping[str, int]  # by the role they will have: enough to learn from and to be judged by
    approvals: int


FIRST = Round(corrections={TRAIN: 25, DEV: 5, GATE: 10}, approvals=160)
AGAIN = Round(corrections={TRAIN: 12, DEV: 2, GATE: 10}, approvals=40)


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
        refusals = person.announcements.refusals(agent)
        before = _give(person, agent, wave, effort)
        if _watch(person, agent, wave, before, refusals):
            person.report(event="followed", agent=agent, wave=wave)
            return
        effort = AGAIN


def _give(person: Person, agent: str, wave: int, effort: Round) -> str:
    """One round of feedback is acknowledged by Kafka. Returns the version it was about."""
    approved = _approvals(person, agent, wave, effort.approvals)
    corrected = _corrections(person, agent, wave, effort)
    # An approval older than a correction of a similar prompt counts as outdated: rules change. So what must
    # stay is said after what must change; and what the gate judges by last, for then the agent is taught.
    _correct_all(person, corrected, (TRAIN, DEV))
    for task, answer in approved:
        _approve(person, task, answer)
    person.post.flush()
    _correct_all(person, corrected, (GATE,))
    person.report(
        event="feedback", agent=agent, wave=wave, corrections=len(corrected), approvals=len(approved)
    )
    return corrected[-1][1].version if corrected else ""


def _corrections(person: Person, agent: str, wave: int, effort: Round) -> list[tuple[Task, AgentReply]]:
    """Prompts on which the wave's rules fire and that the agent got wrong, so many of each role."""
    rules = person.world.of_wave(agent, wave)
    announced = person.announcements.rules(agent)
    missing = Counter(effort.corrections)
    found: list[tuple[Task, AgentReply]] = []
    for _ in range(TRIES):
        tasks = _of_roles(
            missing, lambda turn: person.world.fires(rules[turn % len(rules)], person.source, announced)
        )
        wrong = [(task, answer) for task, answer in _ask(person, agent, tasks) if answer.text != task.wanted]
        found += wrong
        missing -= Counter(role_of(task.messages) for task, _ in wrong)
        if not missing or person.stopping.is_set():
            break
    return found


def _of_roles(wanted: Counter[str], make: Callable[[int], Task]) -> list[Task]:
    """Fresh tasks, so many of each role."""
    missing, tasks, turn = Counter(wanted), list[Task](), 0
    while missing:
        task = make(turn)
        turn += 1
        if missing[role := role_of(task.messages)] > 0:
            missing -= Counter([role])
            tasks.append(task)
    return tasks


def _approvals(person: Person, agent: str, wave: int, count: int) -> list[tuple[Task, AgentReply]]:
    """Right answers to near misses of the new rules and to ordinary work."""
    rules = person.world.of_wave(agent, wave)
    announced = person.announcements.rules(agent)
    earlier = person.world.announced(agent, wave - 1)
    chance = person.source.chance

    def next_task() -> Task:
        if chance.random() < NEAR_SHARE:
            return person.world.near(chance.choice(rules), person.source, announced)
        return person.world.traffic(agent, person.source, earlier)

    found: list[tuple[Task, AgentReply]] = []
    for _ in range(TRIES):
        answered = _ask(person, agent, [next_task() for _ in range(count - len(found))])
        found += [(task, answer) for task, answer in answered if answer.text == task.wanted]
        if len(found) == count or person.stopping.is_set():
            break
    return found


def _watch(person: Person, agent: str, wave: int, before: str, refusals: int) -> bool:
    """Whether the rules of the wave come to be followed; not if clorad says no or patience ends."""
    rules = person.world.of_wave(agent, wave)
    announced = person.announcements.rules(agent)
    chance = person.source.chance
    seen: list[bool] = []
    changed = False
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and not person.stopping.wait(WATCH_S):
        if person.announcements.refusals(agent) > refusals:
            return False
        asked = ASKED if changed else 1
        tasks = [person.world.fires(chance.choice(rules), person.source, announced) for _ in range(asked)]
        answered = _ask(person, agent, tasks)
        changed = all(answer.version != before for _, answer in answered)
        if not changed:
            continue  # the version that was corrected still answers
        seen += [answer.text == task.wanted for task, answer in answered]
        if len(seen) >= WATCHED:
            # Live, and either good or in need of another round.
            return sum(seen[-WATCHED:]) >= WATCHED - 1
    return False


def _ask(person: Person, agent: str, tasks: Sequence[Task]) -> list[tuple[Task, AgentReply]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = pool.map(lambda task: person.gateway.ask(agent, task.messages), tasks)
        return list(zip(tasks, answers, strict=True))


def _correct_all(person: Person, corrected: Sequence[tuple[Task, AgentReply]], roles: Sequence[str]) -> None:
    """The corrections of these roles are acknowledged by Kafka."""
    for task, answer in corrected:
        if role_of(task.messages) in roles:
            _correct(person, task, answer)
    person.post.flush()


def _approve(person: Person, task: Task, answer: AgentReply) -> None:
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


def _correct(person: Person, task: Task, answer: AgentReply) -> None:
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
