"""What all simulated people share: a process with a gateway client, a Kafka producer, and announcements.

The demo writes each announcement as one JSON line to standard input, {"agent": "sql", "wave": 2}, and closes
it to end the process. A person's reports are JSON lines on standard output.
"""

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Condition, Event, Lock, Thread
from typing import Any

from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.people.feedback_producer import FeedbackProducer
from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.world import Rule, World
from examples.house_rules.world_file import read_world


class Announcements:
    """Which rules are announced, by agent. Threads may wait for the next announcement."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waves = dict.fromkeys(world.agents, 0)
        self._refusals = dict.fromkeys(world.agents, 0)
        self._news = Condition()
        self.rush = 0  # how many threads of the load are to send requests without pauses

    def announce(self, agent: str, wave: int) -> None:
        """Note that people want the agent's rules up to `wave` followed from now on."""
        with self._news:
            self._waves[agent] = wave
            self._news.notify_all()

    def refuse(self, agent: str) -> None:
        """Note that a candidate of the agent was not promoted."""
        with self._news:
            self._refusals[agent] += 1
            self._news.notify_all()

    def refusals(self, agent: str) -> int:
        """How many candidates of the agent were not promoted."""
        with self._news:
            return self._refusals[agent]

    def wave(self, agent: str) -> int:
        """The agent's last announced wave; 0 before the first."""
        with self._news:
            return self._waves[agent]

    def rules(self, agent: str) -> tuple[Rule, ...]:
        """The agent's announced rules."""
        return self._world.announced(agent, self.wave(agent))

    def wait(self, wait_s_max: float) -> None:
        """Wait for the next announcement, `wait_s_max` seconds at most."""
        with self._news:
            self._news.wait(wait_s_max)


class Person:
    """One simulated person."""

    def __init__(
        self,
        name: str,
        agents: tuple[str, ...],
        world: World,
        gateway: GatewayClient,
        producer: FeedbackProducer,
        *,
        seed: int,
    ) -> None:
        self.name = name
        self.agents = agents
        self.world = world
        self.gateway = gateway
        self.producer = producer
        self.source = SlotValues(random.Random(f"{seed} {name}"), read_words(), held_out=False)
        self.announcements = Announcements(world)
        self.stopping = Event()
        self._conversations = 0
        self._report = Lock()

    def report(self, **facts: Any) -> None:
        """Print one report for the demo."""
        with self._report:
            print(json.dumps({"person": self.name, "at_s": time.time(), **facts}), flush=True)

    def conversation(self) -> str:
        """The name of a new conversation."""
        self._conversations += 1
        return f"{self.name}-{self._conversations}"

    def event_data(self, agent: str, **data: Any) -> Mapping[str, Any]:
        """The data of an event by this person, or by the `author` that `data` names."""
        return {"agent": agent, "author": self.name, **data}

    @property
    def pair(self) -> tuple[str, str]:
        """The person and a colleague, who sends feedback through the same tool."""
        return self.name, f"colleague-of-{self.name}"

    def await_announcement(self) -> bool:
        """Wait until a rule of one of the person's agents is announced; False where the person is to stop."""
        while not any(map(self.announcements.wave, self.agents)):
            if self.stopping.is_set():
                return False
            self.announcements.wait(1.0)
        return True

    def read_announcements(self) -> None:
        """Read announcements until standard input is closed, then stop the person."""
        for line in sys.stdin:
            match json.loads(line):
                case {"agent": agent, "wave": wave}:
                    self.announcements.announce(agent, wave)
                case {"agent": agent, "refused": True}:
                    self.announcements.refuse(agent)
                case {"rush": rush}:
                    self.announcements.rush = rush
        self.stopping.set()
        self.announcements.wait(0)


def run_person(work: Callable[[Person], None]) -> None:
    """Call `work` with the person that the command line describes; it returns once `stopping` is set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--agents", required=True)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--waves", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--kafka-options", default="{}")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which then closes our input
    source = f"//{arguments.name}.example"
    person = Person(
        arguments.name,
        tuple(arguments.agents.split(",")),
        read_world(arguments.world).up_to(arguments.waves),
        GatewayClient(arguments.gateway),
        FeedbackProducer(
            arguments.bootstrap, arguments.journal, source, _kafka_options(arguments.kafka_options)
        ),
        seed=arguments.seed,
    )
    Thread(target=person.read_announcements, name="announcements", daemon=True).start()
    try:
        work(person)
    finally:
        person.producer.close()


def _kafka_options(text: str) -> dict[str, Any]:
    """kafka-python's options from JSON. JSON has no tuples, which api_version must be."""
    options = json.loads(text)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
