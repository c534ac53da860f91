"""An operator who watches conversations and takes over, or aborts, where an agent breaks an announced rule.

A conversation is several requests of one message each under one name: the example base reads one at a time.
"""

from collections.abc import Mapping
from typing import Any

from examples.house_rules.people.gateway import AgentReply
from examples.house_rules.people.person import Person, run_person
from examples.house_rules.world import Task

TURNS = 3
TAKEOVERS = 6  # for each agent and wave
ABORTS = 2  # after the takeovers: an abort does not show what would have been right
CONVERSATIONS_MAX = 40  # for each agent and wave
PAUSE_S = 0.5


def main() -> None:
    """Watch every agent after each announcement."""
    run_person(_work)


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
        stepped_in += hold_conversation(person, agent, wave, abort=stepped_in >= TAKEOVERS)
    person.producer.flush()
    person.report(event="interventions", agent=agent, wave=wave, count=stepped_in)


def hold_conversation(person: Person, agent: str, wave: int, *, abort: bool) -> bool:
    """Hold one conversation until its end or an intervention. Returns whether the operator stepped in."""
    name = person.conversation()
    announced = person.announcements.rules(agent)
    rules = person.world.of_wave(agent, wave)
    earlier = person.world.announced(agent, wave - 1)
    for turn in range(TURNS):
        # Ordinary work first; the new rules hold for the last message.
        task = (
            person.world.fires(person.source.chance.choice(rules), person.source, announced)
            if turn == TURNS - 1
            else person.world.traffic(agent, person.source, earlier)
        )
        answer = person.gateway.ask(agent, task.messages, conversation=name)
        if turn == TURNS - 1 and answer.text != task.wanted:
            person.producer.send_event(
                "intervention",
                person.event_data(
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
