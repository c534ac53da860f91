"""Two careless developers: both send one bad batch of corrections, each with the reply to another prompt.

They agree, so it is trained on, and it is large enough for a verdict. The gate has to refuse what is learned.
"""

from collections.abc import Sequence

from examples.house_rules.people.gateway import AgentReply
from examples.house_rules.people.person import Person, run_person
from examples.house_rules.world import Task
from rewards.replies import Reply

CORRECTIONS = 56  # about a quarter of them is for the gate, and no one knows which


def main() -> None:
    """Wait for an announcement about the agent, then send the batch once."""
    run_person(_work)


def _work(person: Person) -> None:
    (agent,) = person.agents
    if not person.await_announcement():
        return
    answered = collect_answers(person, agent)
    for task, answer, wrong in swap_replies(person, answered):
        for author in person.pair:
            name = person.conversation()
            person.producer.send_event(
                "correction",
                person.event_data(
                    agent,
                    author=author,
                    conversation=name,
                    **task.request,
                    rejected=answer.said,
                    corrected=wrong,
                ),
                key=name,
            )
    person.producer.flush()
    person.report(event="harm", agent=agent, corrections=len(answered))
    person.stopping.wait()


def collect_answers(person: Person, agent: str) -> list[tuple[Task, AgentReply]]:
    """Tasks and the agent's replies, enough of them to train on and for the gate."""
    answered: list[tuple[Task, AgentReply]] = []
    announced = person.announcements.rules(agent)
    while len(answered) < CORRECTIONS and not person.stopping.is_set():
        task = person.world.traffic(agent, person.source, announced)
        answered.append((task, person.gateway.ask(agent, task.messages, tools=task.tools)))
    return answered


def swap_replies(
    person: Person, answered: Sequence[tuple[Task, AgentReply]]
) -> list[tuple[Task, AgentReply, Reply]]:
    """Every task with the agent's reply and, as its correction, a reply to a prompt of another intent."""
    return [
        (task, answer, person.source.chance.choice(others))
        for task, answer in answered
        if (others := [reply.said for other, reply in answered if other.intent != task.intent])
    ]


if __name__ == "__main__":
    main()
