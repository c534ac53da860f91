"""The people of the play as processes: started, told what is announced, listened to, and sent home."""

import json
import queue
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from examples.house_rules.stack import ROOT, Stack

LEAVE_S_MAX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One person to play: the module under `people`, and whom he deals with."""

    name: str
    module: str
    agents: Sequence[str]


class PersonaProcesses:
    """Everybody on stage. `reports` is what they say, in order."""

    def __init__(self, stack: Stack, world: Path, *, seed: int) -> None:
        self._stack = stack
        self._world = world
        self._seed = seed
        self._people: dict[str, subprocess.Popen[str]] = {}
        self.reports: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self.journals = stack.folder / "journals"

    def enter(self, part: Persona) -> None:
        """The person is at work."""
        self.journals.mkdir(exist_ok=True)
        log = (self._stack.folder / f"{part.name}.log").open("a")
        command = [
            *(sys.executable, "-m", f"examples.house_rules.people.{part.module}"),
            *("--name", part.name, "--agents", ",".join(part.agents), "--world", str(self._world)),
            *("--gateway", self._stack.gateway, "--bootstrap", self._stack.bootstrap),
            *("--journal", str(self.journals / f"{part.name}.jsonl"), "--seed", str(self._seed)),
            *("--kafka-options", json.dumps(self._stack.kafka_options)),
        ]
        with log:
            person = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                start_new_session=True,
            )
        self._people[part.name] = person
        Thread(target=self._listen, args=(person,), daemon=True).start()

    def announce(self, names: Sequence[str], agent: str, wave: int) -> None:
        """These people hear that the agent's rules up to `wave` hold from now on."""
        self._tell(names, {"agent": agent, "wave": wave})

    def refused(self, names: Sequence[str], agent: str) -> None:
        """These people hear that what the agent had learned will not serve."""
        self._tell(names, {"agent": agent, "refused": True})

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody who has entered."""
        return tuple(self._people)

    def lost(self) -> list[str]:
        """People who ended with a fault."""
        return [name for name, person in self._people.items() if person.poll() not in (None, 0)]

    def leave(self) -> None:
        """Nobody is left: the end of their input is the end of the play."""
        for person in self._people.values():
            if person.stdin is not None and not person.stdin.closed:
                try:
                    person.stdin.close()
                except BrokenPipeError:
                    continue
        for person in self._people.values():
            try:
                person.wait(LEAVE_S_MAX)
            except subprocess.TimeoutExpired:
                person.kill()
                person.wait(LEAVE_S_MAX)

    def rush(self, name: str, on: bool) -> None:
        """This one is to ask as densely as he can, or no longer."""
        self._tell([name], {"rush": on})

    def _tell(self, names: Sequence[str], news: Mapping[str, Any]) -> None:
        for name in names:
            person = self._people[name]
            assert person.stdin is not None
            try:
                person.stdin.write(json.dumps(news) + "\n")
                person.stdin.flush()
            except BrokenPipeError:
                continue  # his end shows in `lost`

    def _listen(self, person: subprocess.Popen[str]) -> None:
        assert person.stdout is not None
        for line in person.stdout:
            self.reports.put(json.loads(line))
