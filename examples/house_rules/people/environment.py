"""The environment: sees how some of the agents' work ended, and says so as a number.

An outcome names its interaction and carries the texts; a job done as wanted is worth 1, another -1.
"""

from examples.house_rules.people.person import Person, live

OUTCOMES_MAX = 24  # per agent
PAUSE_S = 4.0  # between two jobs of one agent


def main() -> None:
    """Judge a job of every agent now and then."""
    live(_work)


def _work(person: Person) -> None:
    for _ in range(OUTCOMES_MAX):
        for agent in person.agents:
            if person.stopping.wait(PAUSE_S / len(person.agents)):
                return
            _judge(person, agent)
        person.post.flush()
        person.report(event="outcomes", count=len(person.agents))
    person.stopping.wait()


def _judge(person: Person, agent: str) -> None:
    task = person.world.rule_free(agent, person.source)  # what people are still arguing about is not judged
    name = person.conversation()
    answer = person.gateway.ask(agent, task.messages, conversation=name)
    person.post.say(
        "outcome",
        person.said(
            agent,
            conversation=name,
            interaction=answer.interaction,
            messages=task.messages,
            said=answer.text,
            value=1.0 if answer.text == task.wanted else -1.0,
        ),
        key=name,
    )


if __name__ == "__main__":
    main()
