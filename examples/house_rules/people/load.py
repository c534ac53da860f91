"""Background traffic: a few requests a second all the time, and many more while a candidate is being judged.

Each request is reported with its times. No prompt is asked on which a rule fires that is not yet announced.
"""

import time
from threading import Lock, Thread
from typing import Any

import openai

from examples.house_rules.people.person import Person, run_person
from examples.house_rules.world import Task

STEADY = 6  # threads that always ask, with pauses
PAUSE_S = 2.0
RUSHING_MAX = 50  # more threads during a rush, all without pauses: promotions have to happen under load


def main() -> None:
    """Keep asking until the demo ends."""
    run_person(_work)


def _work(person: Person) -> None:
    drawing = Lock()  # all threads draw prompts from one source, which is not safe for several at once
    workers = [
        Thread(target=_ask_on, args=(person, drawing, number), daemon=True)
        for number in range(STEADY + RUSHING_MAX)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _ask_on(person: Person, drawing: Lock, number: int) -> None:
    agent = person.agents[number % len(person.agents)]
    while not person.stopping.is_set():
        rush = person.announcements.rush
        if person.announcements.wave(agent) == 0 or number >= STEADY + rush:
            person.stopping.wait(PAUSE_S / 4)
            continue
        with drawing:
            task = person.world.traffic(agent, person.source, person.announcements.rules(agent))
            name = person.conversation()
        person.report(event="request", **_asked(person, task, name))
        if not rush:
            person.stopping.wait(PAUSE_S)


def _asked(person: Person, task: Task, name: str) -> dict[str, Any]:
    started_s = time.time()
    record: dict[str, Any] = {"agent": task.agent, "started_s": started_s}
    try:
        answer = person.gateway.ask(task.agent, task.messages, tools=task.tools, conversation=name)
    except openai.OpenAIError as fault:
        record |= {"ok": False, "fault": type(fault).__name__}
    else:
        record |= {"ok": True, "version": answer.version, "right": answer.text == task.wanted}
    return {**record, "ended_s": time.time()}


if __name__ == "__main__":
    main()
