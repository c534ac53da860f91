"""Background traffic: many requests in flight all the time, each a line of the record with its times.

It holds no prompt on which a rule fires that is not yet announced.
"""

import time
from threading import Lock, Thread
from typing import Any

import openai

from examples.house_rules.people.person import Person, live
from examples.house_rules.world import Task

IN_FLIGHT = 24
PAUSE_S = 0.15  # between a worker's requests: the machine has other things to do as well


def main() -> None:
    """Keep asking until the director hangs up."""
    live(_work)


def _work(person: Person) -> None:
    asking = Lock()  # prompts come from one source, which is not for several threads
    workers = [
        Thread(target=_ask_on, args=(person, asking, number), daemon=True) for number in range(IN_FLIGHT)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _ask_on(person: Person, asking: Lock, number: int) -> None:
    agent = person.agents[number % len(person.agents)]
    while not person.stopping.wait(PAUSE_S):
        with asking:
            task = person.world.traffic(agent, person.source, person.announcements.rules(agent))
            name = person.conversation()
        person.report(event="request", **_asked(person, task, name))


def _asked(person: Person, task: Task, name: str) -> dict[str, Any]:
    started_s = time.time()
    record: dict[str, Any] = {"agent": task.agent, "started_s": started_s}
    try:
        answer = person.gateway.ask(task.agent, task.messages, conversation=name)
    except openai.OpenAIError as fault:
        record |= {"ok": False, "fault": type(fault).__name__}
    else:
        record |= {"ok": True, "version": answer.version, "right": answer.text == task.wanted}
    return {**record, "ended_s": time.time()}


if __name__ == "__main__":
    main()
