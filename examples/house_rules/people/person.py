"""What every simulated person is: a process with a gateway, a post office, and somebody who announces rules.

The director of the play writes one JSON line per announcement on standard input, {"agent": "sql", "wave": 2};
its end is the end of the play. What a person reports is one JSON line on standard output.
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
from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.people.post import Post
from examples.house_rules.world import Rule, World
from examples.house_rules.world_file import read_world


class Announcements:
    """Which rules are announced, by agent; one may wait for news."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waves = dict.fromkeys(world.agents, 0)
        self._refusals = dict.fromkeys(world.agents, 0)
        self._news = Condition()
        self.rush = False  # whether traffic is at its densest

    def announce(self, agent: str, wave: int) -> None:
        """From now on people want the agent's rules up to `wave` followed."""
        with self._news:
            self._waves[agent] = wave
            self._news.notify_all()

    def refuse(self, agent: str) -> None:
        """What the agent had learned was not good enough to serve."""
        with self._news:
            self._refusals[agent] += 1
            self._news.notify_all()

    def refusals(self, agent: str) -> int:
        """How often that happened."""
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
        """Returns at the next announcement or after the time."""
        with self._news:
            self._news.wait(wait_s_max)


class Person:
    """One person at work."""

    def __init__(
        self,
        name: str,
        agents: tuple[str, ...],
        world: World,
        gateway: GatewayClient,
        post: Post,
        *,
        seed: int,
    ) -> None:
        self.name = name
        self.agents = agents
        self.world = world
        self.gateway = gateway
        self.post = post
        self.source = SlotValues(random.Random(f"{seed} {name}"), read_words(), held_out=False)
        self.announcements = Announcements(world)
        self.stopping = Event()
        self._conversations = 0
        self._report = Lock()

    def report(self, **facts: Any) -> None:
        """Tell the director; a director who has gone is no reason to fail."""
        with self._report:
            print(json.dumps({"person": self.name, "at_s": time.time(), **facts}), flush=True)

    def conversation(self) -> str:
        """A name for a new conversation."""
        self._conversations += 1
        return f"{self.name}-{self._conversations}"

    def said(self, agent: str, **data: Any) -> Mapping[str, Any]:
        """The data of one event by this person."""
        return {"agent": agent, "author": self.name, **data}

    def listen(self) -> None:
        """Take announcements until the director hangs up."""
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


def live(work: Callable[[Person], None]) -> None:
    """Be the person the command line describes until the work is done or the director hangs up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--agents", required=True)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--kafka-options", default="{}")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the director, who then hangs up
    source = f"//{given.name}.example"
    person = Person(
        given.name,
        tuple(given.agents.split(",")),
        read_world(given.world),
        GatewayClient(given.gateway),
        Post(given.bootstrap, given.journal, source, _options(given.kafka_options)),
        seed=given.seed,
    )
    Thread(target=person.listen, name="listen", daemon=True).start()
    try:
        work(person)
    finally:
        person.post.close()


def _options(given: str) -> dict[str, Any]:
    """kafka-python's options from JSON, which has no tuples (api_version)."""
    options = json.loads(given)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
