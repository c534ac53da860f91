"""An operator who watches conversations: takes over, or aborts, where an agent breaks an announced rule.

A conversation is a row of one-turn requests under one name (the example base reads one turn at a time).
"""

from collections.abc import Mapping
from typing import Any

from examples.house_rules.people.gateway import AgentReply
from examples.house_rules.people.person import Person, live
from examples.house_rules.world import Task

TURNS = 3
TAKEOVERS = 6  # per agent and wave
ABORTS = 2  # only after takeovers: an abort alone shows no better way
CONVERSATIONS_MAX = 40  # per agent and wave
PAUSE_S = 0.5


def main() -> None:
    """Watch every agent, wave after wave."""
    live(_work)


def _work(person: Person) -> None:
    watched = dict.fromkeys(person.agents, 0)
    while not person.stopping.is_set():
        news = [agent for agent in person.agents if person.announcements.wave(agent) > watched[agent]]
        if not news:
            person.announcements.wait(1.0)
        for agent in news:
            watched[agent] = person.announcements.wave(agent)
            _watch(person, agent, watched[agent])


def _watch(person: Person, agent: str, wave: int) -> None:
    stepped_in = 0
    for _ in range(CONVERSATIONS_MAX):
        if stepped_in == TAKEOVERS + ABORTS or person.stopping.wait(PAUSE_S):
            break
        stepped_in += _converse(person, agent, wave, abort=stepped_in >= TAKEOVERS)
    person.post.flush()
    person.report(event="interventions", agent=agent, wave=wave, count=stepped_in)


def _converse(person: Person, agent: str, wave: int, *, abort: bool) -> bool:
    """One conversation, until its end or the operator steps in. Returns whether that happened."""
    name = person.conversation()
    announced = person.announcements.rules(agent)
    rules = person.world.of_wave(agent, wave)
    earlier = person.world.announced(agent, wave - 1)
    for turn in range(TURNS):
        # Ordinary work first; the last turn is one the new rules speak about.
        task = (
            person.world.fires(person.source.chance.choice(rules), person.source, announced)
            if turn == TURNS - 1
            else person.world.traffic(agent, person.source, earlier)
        )
        answer = person.gateway.ask(agent, task.messages, conversation=name)
        if turn == TURNS - 1 and answer.text != task.wanted:
            person.post.say(
                "intervention",
                person.said(
                    agent,
                    conversation=name,
                    turn=turn,
                    messages=task.messages,
                    **(_abort(task, answer) if abort else _takeover(task, answer)),
                ),
                key=name,
            )
            return True
    return False


def _takeover(task: Task, answer: AgentReply) -> Mapping[str, Any]:
    return {
        "action": "takeover",
        "reason": task.comment,
        "said": answer.text,
        "turns": [{"role": "assistant", "content": task.wanted}],
    }


def _abort(task: Task, answer: AgentReply) -> Mapping[str, Any]:
    return {"action": "abort", "reason": task.comment, "said": answer.text}


if __name__ == "__main__":
    main()
