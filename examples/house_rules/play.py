"""The play: waves of house rules are announced, people teach, agents learn, and everything is counted.

`Play.run` is the whole story in order; the stack, the people, the exam, the view and the report are
pieces of their own.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.house_rules import report
from examples.house_rules.cast import Cast, Part
from examples.house_rules.chaos import ARMS, Chaos
from examples.house_rules.measure import Exam, Marks, set_exam, take_exams, through
from examples.house_rules.people.gateway import Gateway
from examples.house_rules.report import AgentFigures, Figures, Request, Swap
from examples.house_rules.scene import AgentScene, Scene
from examples.house_rules.stack import Stack, StackFailedError
from examples.house_rules.view import View
from examples.house_rules.window import Window
from examples.house_rules.world import Task, World

TICK_S = 0.5
SAMPLE_S = 4.0  # between two looks at held-out prompts for the sparkline
SAMPLED = 3
DRAIN_S_MAX = 60.0
SETTLE_S_MAX = 180.0  # for the bad batch to be judged


class PlayFailedError(RuntimeError):
    """The play cannot go on; one line that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Which play is given."""

    world: World
    world_file: Path
    agents: tuple[str, ...]
    whole: bool  # the whole cast: operator, environment, load, careless developer, poison
    chaos: bool
    n: int  # of each part of the exam
    seed: int
    seconds_max: float


@dataclass(slots=True, kw_only=True)
class Record:
    """What is collected while the play runs."""

    requests: list[Request] = field(default_factory=list)
    exam_requests: int = 0
    exam_failed: int = 0
    harm_s: float | None = None  # when the bad batch had been sent


class Play:
    """One performance."""

    def __init__(self, script: Script, stack: Stack, window: Window, view: View, scene: Scene) -> None:
        self._script = script
        self._stack = stack
        self._window = window
        self._view = view
        self._scene = scene
        self._record = Record()
        self._cast = Cast(stack, script.world_file, seed=script.seed)
        self._chaos = Chaos(stack, window, ARMS if script.chaos else {})
        self._answers = through(Gateway(stack.gateway))
        self._exams = [set_exam(script.world, agent, n=script.n) for agent in script.agents]
        self._started = time.monotonic()
        self._ended = threading.Event()

    def run(self) -> Figures:
        """From the first start to the last figure. Raises `PlayFailedError` or `StackFailedError`."""
        try:
            self._chaos.start()
            self._stack.wait_for_agents()
            before = self._sit_exams("asking what the base model does by itself")
            self._enter_cast()
            sampler = threading.Thread(target=self._sample, name="sample", daemon=True)
            sampler.start()
            self._teach()
            if self._script.whole:
                self._misteach()
            self._ended.set()
            sampler.join()
            self._cast.leave()
            after = self._sit_exams("asking everything again")
            self._drain()
            return self._figures(before, after)
        finally:
            self._ended.set()
            self._cast.leave()

    def a_correction(self) -> str | None:
        """The uid of a correction that was given, for its receipt."""
        said = [line for line in self._journal() if line["type"] == "correction"]
        return f"{said[0]['source']}#{said[0]['id']}" if said else None

    def _sit_exams(self, headline: str) -> Mapping[str, Marks]:
        self._say(headline)
        marks = take_exams(self._exams, self._answers)
        for agent, mark in marks.items():
            self._say(
                f"{agent}: follows its rules on {mark.followed:.0%} of n={mark.n}, "
                f"fires on {mark.leaked:.1%} of near misses, keeps {mark.kept:.0%} of the rest"
            )
        self._record.exam_requests += sum(mark.requests for mark in marks.values())
        self._record.exam_failed += sum(mark.failed for mark in marks.values())
        return marks

    def _enter_cast(self) -> None:
        agents = self._script.agents
        for agent in agents:
            self._cast.enter(Part(name=_developer(agent), module="developer", agents=[agent]))
        if self._script.whole:
            for name in ("operator", "environment", "load", "poison"):
                self._cast.enter(Part(name=name, module=name, agents=agents))
            self._cast.enter(Part(name="careless", module="careless", agents=agents[:1]))

    def _teach(self) -> None:
        """Every agent follows all its rules afterwards; each has its own pace."""
        self._scene.headline = "agents learn their house rules"
        for agent in self._script.agents:
            self._announce(agent, 1)
        while any(one.followed < one.waves for one in self._scene.agents.values()):
            self._tick()

    def _misteach(self) -> None:
        """A bad batch is sent to an agent that has reached its goal, and clorad has judged it."""
        agent = self._script.agents[0]
        self._scene.headline = "a careless developer sends a bad batch"
        self._cast.announce(["careless"], agent, self._script.world.waves(agent))
        until = time.monotonic() + SETTLE_S_MAX
        while time.monotonic() < until and not self._refused(agent):
            self._tick()
        while self._script.chaos and not self._chaos.over() and time.monotonic() < until:
            self._tick()

    def _announce(self, agent: str, wave: int) -> None:
        self._scene.agents[agent].wave = wave
        rules = ", ".join(rule.name for rule in self._script.world.of_wave(agent, wave))
        self._say(f"{agent}: wave {wave} announced: {rules}")
        listeners = [name for name in self._cast.names if name == _developer(agent) or name in _EVERYBODY]
        self._cast.announce(listeners, agent, wave)

    def _tick(self) -> None:
        """Half a second of the play: what people report, what died, what there is to see."""
        self._chaos.tick(self._say)
        if faults := self._stack.faults():
            raise PlayFailedError(faults[0])
        if lost := self._cast.lost():
            raise PlayFailedError(f"{lost[0]} went home with a fault, see {self._stack.folder}/{lost[0]}.log")
        if self._seconds() > self._script.seconds_max:
            raise PlayFailedError(f"not done after {self._script.seconds_max:.0f} s")
        while not self._cast.reports.empty():
            self._hear(self._cast.reports.get())
        self._look()
        self._view.refresh()
        time.sleep(TICK_S)

    def _hear(self, heard: Mapping[str, Any]) -> None:
        match heard["event"]:
            case "request":
                self._record.requests.append(
                    Request(started_s=heard["started_s"], ended_s=heard["ended_s"], ok=heard["ok"])
                )
            case "followed":
                agent = self._scene.agents[heard["agent"]]
                agent.followed = heard["wave"]
                self._say(f"{agent.agent}: follows the rules of wave {agent.followed}")
                self._chaos.empty_a_replica(self._say)
                if agent.followed < agent.waves:
                    self._announce(agent.agent, agent.followed + 1)
            case "feedback":
                self._say(
                    f"{heard['person']}: {heard['corrections']} corrections, {heard['approvals']} approvals"
                )
            case "interventions":
                self._say(f"{heard['person']}: stepped in {heard['count']} times at {heard['agent']}")
            case "harm":
                self._record.harm_s = heard["at_s"]
                self._say(f"{heard['person']}: {heard['corrections']} corrections, each with another's reply")

    def _look(self) -> None:
        scene, requests = self._scene, self._record.requests
        for name, look in self._window.look().items():
            if (agent := scene.agents.get(name)) is not None:
                if look.verdict != agent.verdict:
                    self._say(f"{name}: {look.verdict}")
                agent.version, agent.backlog = look.version, look.backlog
                agent.learning, agent.verdict = look.learning, look.verdict
        scene.seconds = self._seconds()
        recent_s = time.time() - 10.0
        scene.requests = len(requests)
        scene.failed = sum(not one.ok for one in requests)
        scene.requests_per_s = sum(one.ended_s > recent_s for one in requests[-2000:]) / 10.0
        scene.stored, scene.dead = self._window.stored(), sum(self._window.dead().values())
        scene.promoted = len(self._window.promotions())
        scene.kills = len(self._chaos.kills)

    def _sample(self) -> None:
        """Held-out prompts, a few at a time, for the curves that are shown; figures come from the exams."""
        turn = 0
        while not self._ended.wait(SAMPLE_S):
            for exam in self._exams:
                agent = self._scene.agents[exam.agent]
                agent.recent.extend(self._right(_some(exam, turn)))
                agent.history.append(agent.accuracy)
            turn += 1

    def _right(self, tasks: Sequence[Task]) -> list[bool]:
        said = self._answers(tasks)
        self._record.exam_requests += len(said)
        self._record.exam_failed += sum(answer is None for answer in said)
        return [answer == task.wanted for task, answer in zip(tasks, said, strict=True)]

    def _drain(self) -> None:
        """Everything that Kafka acknowledged is in the ledger."""
        until = time.monotonic() + DRAIN_S_MAX
        while time.monotonic() < until and self._accounted() < len(self._journal()):
            time.sleep(TICK_S)
        self._look()

    def _accounted(self) -> int:
        return self._window.stored() + sum(self._window.dead().values())

    def _journal(self) -> list[Mapping[str, Any]]:
        files = sorted(self._cast.journals.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def _refused(self, agent: str) -> bool:
        harm_s = self._record.harm_s
        return harm_s is not None and self._window.refusals(agent, after_s=harm_s) > 0

    def _figures(self, before: Mapping[str, Marks], after: Mapping[str, Marks]) -> Figures:
        promotions = self._window.promotions()
        agents = self._script.agents
        return Figures(
            agents={
                agent: AgentFigures(
                    before=before[agent],
                    after=after[agent],
                    versions=sum(one.agent == agent for one in promotions),
                    refused=self._window.refusals(agent),
                )
                for agent in agents
            },
            agents_per_pass_max=self._window.agents_per_pass_max(),
            requests=tuple(self._record.requests),
            exam_requests=self._record.exam_requests,
            exam_failed=self._record.exam_failed,
            swaps=self._swaps(),
            event_to_live_s=self._window.events_to_live_s(),
            events_produced=len(self._journal()),
            events_stored=self._window.stored(),
            dead_letters=self._window.dead(),
            bad_batch_refused=self._refused(agents[0]) if self._script.whole else None,
            audit=self._audit(),
            broker=self._stack.broker,
            kills=tuple(self._chaos.kills),
            replayed={number: self._replays(number) for number in sorted(self._chaos.killed_passes)},
            seconds=self._seconds(),
        )

    def _swaps(self) -> list[Swap]:
        return [
            Swap(agent=one.agent, decided_s=one.decided_s, adopted_s=one.decided_s + 0.4)
            for one in self._window.promotions()
        ]

    def _audit(self) -> str:
        done = self._stack.run_clorad("audit", "--json", "--verify")
        return "clean" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-300:]

    def _replays(self, number: int) -> bool:
        return self._stack.run_clorad("replay", str(number)).returncode == 0

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _say(self, line: str) -> None:
        self._scene.seconds = self._seconds()
        self._view.say(line)


_EVERYBODY = ("operator", "environment", "load", "poison")


def _developer(agent: str) -> str:
    return f"developer-{agent}"


def _some(exam: Exam, turn: int) -> Sequence[Task]:
    first = turn * SAMPLED * 7 % len(exam.fires)  # jumps, so that every rule gets its turn
    return [exam.fires[(first + step * 11) % len(exam.fires)] for step in range(SAMPLED)]


def scene_of(script: Script, broker: str) -> Scene:
    """The empty stage."""
    agents = {agent: AgentScene(agent=agent, waves=script.world.waves(agent)) for agent in script.agents}
    return Scene(title=script.world.title, broker=broker, agents=agents)


__all__ = ["Play", "PlayFailedError", "Script", "StackFailedError", "report", "scene_of"]
