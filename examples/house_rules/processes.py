"""Runs the simulated people as processes: starts and stops them, sends announcements, reads reports."""

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

STOP_S_MAX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonOptions:
    """One simulated person to start."""

    name: str
    module: str  # under `people`
    agents: Sequence[str]  # whom the person works with


class PeopleProcesses:
    """The people that run. `reports` has what they report, in order."""

    def __init__(self, stack: Stack, world: Path, *, waves: int, seed: int) -> None:
        self._stack = stack
        self._world = world
        self._waves = waves
        self._seed = seed
        self._people: dict[str, subprocess.Popen[str]] = {}
        self.reports: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self.journals = stack.folder / "journals"

    def start(self, options: PersonOptions) -> None:
        """Start the person's process."""
        self.journals.mkdir(exist_ok=True)
        log = (self._stack.folder / f"{options.name}.log").open("a")
        command = [
            *(sys.executable, "-m", f"examples.house_rules.people.{options.module}"),
            *("--name", options.name, "--agents", ",".join(options.agents), "--world", str(self._world)),
            *("--waves", str(self._waves)),
            *("--gateway", self._stack.gateway, "--bootstrap", self._stack.bootstrap),
            *("--journal", str(self.journals / f"{options.name}.jsonl"), "--seed", str(self._seed)),
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
        self._people[options.name] = person
        Thread(target=self._read_reports, args=(person,), daemon=True).start()

    def announce(self, names: Sequence[str], agent: str, wave: int) -> None:
        """Tell these people that the agent's rules up to `wave` hold from now on."""
        self._send(names, {"agent": agent, "wave": wave})

    def report_refusal(self, names: Sequence[str], agent: str) -> None:
        """Tell these people that the agent's candidate was not promoted."""
        self._send(names, {"agent": agent, "refused": True})

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody who was started."""
        return tuple(self._people)

    def failed(self) -> list[str]:
        """People whose process ended with an error."""
        return [name for name, person in self._people.items() if person.poll() not in (None, 0)]

    def stop(self) -> None:
        """Close everybody's standard input, which ends them, and wait; kill those who take too long."""
        for person in self._people.values():
            if person.stdin is not None and not person.stdin.closed:
                try:
                    person.stdin.close()
                except BrokenPipeError:
                    continue
        for person in self._people.values():
            try:
                person.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                person.kill()
                person.wait(STOP_S_MAX)

    def set_rush(self, name: str, threads: int) -> None:
        """Tell this person how many threads are to send requests without pauses; 0: back to normal."""
        self._send([name], {"rush": threads})

    def _send(self, names: Sequence[str], announcement: Mapping[str, Any]) -> None:
        for name in names:
            person = self._people[name]
            assert person.stdin is not None
            try:
                person.stdin.write(json.dumps(announcement) + "\n")
                person.stdin.flush()
            except BrokenPipeError:
                continue  # `failed` names a process that ended

    def _read_reports(self, person: subprocess.Popen[str]) -> None:
        assert person.stdout is not None
        for line in person.stdout:
            self.reports.put(json.loads(line))
