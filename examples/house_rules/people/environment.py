"""The environment: sends an outcome for some of the agents' work: 1 where the reply is right, else -1.

An outcome names its interaction and carries the texts as well.
"""

from examples.house_rules.people.person import Person, run_person

OUTCOMES_MAX = 24  # for each agent
PAUSE_S = 4.0  # between two outcomes of one agent


def main() -> None:
    """Ask every agent now and then, and send the outcome."""
    run_person(_work)


def _work(person: Person) -> None:
    if not person.await_announcement():
        return
    for _ in range(OUTCOMES_MAX):
        for agent in person.agents:
            if person.stopping.wait(PAUSE_S / len(person.agents)):
                return
            send_outcome(person, agent)
        person.producer.flush()
        person.report(event="outcomes", count=len(person.agents))
    person.stopping.wait()


def send_outcome(person: Person, agent: str) -> None:
    task = person.world.rule_free(agent, person.source)  # no rule changes what is right here
    name = person.conversation()
    answer = person.gateway.ask(agent, task.messages, tools=task.tools, conversation=name)
    person.producer.send_event(
        "outcome",
        person.event_data(
            agent,
            conversation=name,
            interaction=answer.interaction,
            **task.request,
            said=answer.said,
            value=1.0 if answer.text == task.wanted else -1.0,
        ),
        key=name,
    )


if __name__ == "__main__":
    main()
