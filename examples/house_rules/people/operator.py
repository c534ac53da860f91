"""An operator who watches conversations and takes over, or aborts, where an agent breaks an announced rule.

A conversation with the agent that has tools goes on until it answers; the operator takes it over in the
middle, before a wrong call is run. With the other agents a conversation is several requests of one message
each, under one name.
"""

from collections.abc import Mapping
from typing import Any

from examples.house_rules.people.gateway import AgentReply
from examples.house_rules.people.person import Person, run_person
from examples.house_rules.people.talk import continued, first_wrong, takeover_lines, talk
from examples.house_rules.world import Task
from rewards.replies import message_of

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
    if person.world.has_tools(agent):
        return _hold_with_tools(person, agent, wave, abort=abort)
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
        answer = person.gateway.ask(agent, task.messages, tools=task.tools, conversation=name)
        if turn == TURNS - 1 and answer.text != task.wanted:
            person.producer.send_event(
                "intervention",
                person.event_data(
                    agent,
                    conversation=name,
                    turn=turn,
                    **task.request,
                    **(_abort(task, answer) if abort else _takeover(task, answer)),
                ),
                key=name,
            )
            return True
    return False


def _hold_with_tools(person: Person, agent: str, wave: int, *, abort: bool) -> bool:
    """The agent works on a request by a rule; the operator steps in before the first wrong call is run."""
    skill, rules = person.world.acting, person.world.of_wave(agent, wave)
    assert skill is not None
    asked = person.world.ruled_conversation(person.source.chance.choice(rules), person.source)
    wanted = skill.turns(person.world.wanted(asked, person.announcements.rules(agent)))
    held = talk(person.gateway, skill, asked, name=person.conversation(), turns_max=len(wanted))
    wrong = first_wrong(held, wanted)
    if wrong is None:
        return False
    reply = held.replies[wrong]
    turns = continued(skill, asked, wanted[wrong:])
    comment = rules[0].comment
    acted = {"action": "abort"} if abort else {"action": "takeover", "turns": turns}
    person.producer.send_event(
        "intervention",
        person.event_data(
            agent,
            conversation=held.name,
            interaction=reply.interaction,
            turn=wrong,
            reason=comment,
            said=reply.said,
            **acted,
        ),
        key=str(held.name),
    )
    if not abort:
        before = held.before(wrong)
        person.report(event="takeover", agent=agent, lines=takeover_lines(before, reply.said, turns))
    return True


def _takeover(task: Task, answer: AgentReply) -> Mapping[str, Any]:
    return {
        "action": "takeover",
        "reason": task.comment,
        "said": answer.said,
        "turns": [message_of(task.reply)],
    }


def _abort(task: Task, answer: AgentReply) -> Mapping[str, Any]:
    return {"action": "abort", "reason": task.comment, "said": answer.said}


if __name__ == "__main__":
    main()
