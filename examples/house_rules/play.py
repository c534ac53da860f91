"""The play: waves of house rules are announced, people teach, agents learn, and everything is counted.

`Play.run` is the whole story in order; stack, people, exam, view and books are pieces of their own.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.house_rules.chaos import ARMS, Chaos
from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.measure import Exam, ExamResult, set_exam, take_exams, through
from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.people.post import TOPIC
from examples.house_rules.processes import Persona, PersonaProcesses
from examples.house_rules.recording import Adoptions, Books, PlayRecording
from examples.house_rules.report import Figures
from examples.house_rules.scene import AgentScene, Scene
from examples.house_rules.stack import Stack
from examples.house_rules.view import View
from examples.house_rules.world import Task, World

TICK_S = 0.5
SAMPLE_S = 6.0  # between two looks at held-out prompts, for the curves
SAMPLED = 3
INTAKE_S_MAX = 120.0
DRAIN_S_MAX = 60.0
SETTLE_S_MAX = 240.0  # for the bad batch to be judged, and for the last process to be killed

_EVERYBODY = ("operator", "environment", "load", "poison")


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

    def scene(self, broker: str) -> Scene:
        """The empty stage."""
        agents = {agent: AgentScene(agent=agent, waves=self.world.waves(agent)) for agent in self.agents}
        return Scene(title=self.world.title, broker=broker, agents=agents)


class Play:
    """One performance."""

    def __init__(self, script: Script, stack: Stack, window: LedgerView, view: View, scene: Scene) -> None:
        self._script = script
        self._stack = stack
        self._window = window
        self._view = view
        self._scene = scene
        self._cast = PersonaProcesses(stack, script.world_file, seed=script.seed)
        self._chaos = Chaos(stack, window, ARMS if script.chaos else {})
        self._answers = through(GatewayClient(stack.gateway))
        self._exams = [set_exam(script.world, agent, n=script.n) for agent in script.agents]
        self._record = PlayRecording()
        self._adoptions = Adoptions(stack.gateway)
        self.books = Books(
            stack=stack,
            window=window,
            record=self._record,
            adoptions=self._adoptions,
            chaos=self._chaos,
            journals=self._cast.journals,
        )
        self._started = time.monotonic()
        self._curtain = threading.Event()
        self._bad_batch: str | None = None  # whom the careless developer was sent to
        self._rush = False

    def run(self) -> Figures:
        """From the first start to the last figure. Raises `PlayFailedError` or `StackFailedError`."""
        sampler = threading.Thread(target=self._sample, name="sample", daemon=True)
        try:
            self._chaos.start()
            self._stack.wait_for_agents()
            self._wait_for_intake()
            self._enter_cast()
            before = self._sit_exams("what the base model does by itself")
            self._adoptions.start()
            sampler.start()
            self._teach()
            self._settle()
            self._curtain.set()
            sampler.join()
            self._leave()
            after = self._sit_exams("everything is asked again")
            self._drain()
            self._scene.headline = "the end"
            return self.books.figures(before, after, bad_batch=self._bad_batch, seconds=self._seconds())
        finally:
            self._curtain.set()
            self._adoptions.stop()
            self._cast.leave()

    def _wait_for_intake(self) -> None:
        """On a Kafka with a past, intake begins at the end: nobody may speak before it is there."""
        until = time.monotonic() + INTAKE_S_MAX
        while not self._window.is_reading(TOPIC):
            if time.monotonic() > until or self._stack.faults():
                raise PlayFailedError(f"intake does not read {TOPIC}, see {self._stack.folder}")
            time.sleep(TICK_S)

    def _sit_exams(self, headline: str) -> Mapping[str, ExamResult]:
        self._scene.headline = headline
        self._view.refresh()
        marks = take_exams(self._exams, self._answers)
        self._record.add_marks(marks)
        for agent, mark in marks.items():
            self._scene.agents[agent].examined = mark.followed
            self._scene.agents[agent].history.append(mark.followed)
            self._say(
                f"{agent}: follows its rules on {mark.followed:.0%} of n={mark.n}, "
                f"fires on {mark.leaked:.1%} of near misses, keeps {mark.kept:.0%} of the rest"
            )
        return marks

    def _enter_cast(self) -> None:
        agents = self._script.agents
        for agent in agents:
            self._cast.enter(Persona(name=_developer(agent), module="developer", agents=[agent]))
        if self._script.whole:
            for name in _EVERYBODY:
                self._cast.enter(Persona(name=name, module=name, agents=agents))

    def _teach(self) -> None:
        """Every agent follows all its rules afterwards; each goes at its own pace."""
        self._scene.headline = "agents learn their house rules"
        for agent in self._script.agents:
            self._announce(agent, 1)
        while any(one.followed < one.waves for one in self._scene.agents.values()):
            self._tick()

    def _settle(self) -> None:
        """The bad batch is judged, and every process that was to be killed has been."""
        agent = self._bad_batch
        self._scene.headline = "what is still open is judged"
        until = time.monotonic() + SETTLE_S_MAX
        while time.monotonic() < until and not (
            (agent is None or self.books.refused_harm(agent)) and self._chaos.over()
        ):
            self._tick()

    def _announce(self, agent: str, wave: int) -> None:
        self._scene.agents[agent].wave = wave
        rules = ", ".join(rule.name for rule in self._script.world.of_wave(agent, wave))
        self._say(f"{agent}: wave {wave} announced: {rules}")
        listeners = [name for name in self._cast.names if name == _developer(agent) or name in _EVERYBODY]
        self._cast.announce(listeners, agent, wave)

    def _tick(self) -> None:
        """Half a second of the play: what died, what people report, what there is to see."""
        self._chaos.tick(self._say)
        if faults := self._stack.faults():
            raise PlayFailedError(faults[0])
        if lost := self._cast.lost():
            raise PlayFailedError(f"{lost[0]} went home with a fault, see {self._stack.folder}/{lost[0]}.log")
        if self._seconds() > self._script.seconds_max:
            raise PlayFailedError(f"not done after {self._script.seconds_max:.0f} s")
        self._hear_all()
        self._look()
        if "load" in self._cast.names and self._rush != (rush := self._window.judging()):
            self._rush = rush
            self._cast.rush("load", rush)
        self._view.refresh()
        time.sleep(TICK_S)

    def _hear_all(self) -> None:
        while not self._cast.reports.empty():
            self._hear(self._cast.reports.get())

    def _hear(self, heard: Mapping[str, Any]) -> None:
        who = heard["person"]
        match heard["event"]:
            case "request":
                self._record.add_request(heard)
            case "followed":
                self._followed(heard["agent"], heard["wave"])
            case "feedback":
                self._say(f"{who}: {heard['corrections']} corrections, {heard['approvals']} approvals")
            case "interventions":
                self._say(f"{who}: stepped in {heard['count']} times at {heard['agent']}")
            case "harm":
                self._record.harm_s = heard["at_s"]
                self._say(f"{who}: {heard['corrections']} corrections, each with another prompt's reply")

    def _followed(self, name: str, wave: int) -> None:
        agent = self._scene.agents[name]
        agent.followed = wave
        self._say(f"{name}: follows the rules of wave {wave}")
        if self._script.chaos:
            self._chaos.empty_a_replica(self._say)
        if wave < agent.waves:
            self._announce(name, wave + 1)
        elif self._script.whole and self._bad_batch is None:
            self._bad_batch = name
            self._cast.enter(Persona(name="careless", module="careless", agents=[name]))
            self._cast.announce(["careless"], name, wave)

    def _judged(self, name: str, verdict: str) -> None:
        self._say(f"{name}: {verdict}")
        if not self._curtain.is_set() and (" refuse:" in verdict or " abstain:" in verdict):
            self._cast.refused([_developer(name)], name)

    def _look(self) -> None:
        """The scene is as the ledger and the counters have it."""
        scene, requests = self._scene, self._record.requests
        for name, look in self._window.look().items():
            if (agent := scene.agents.get(name)) is not None:
                if look.verdict != agent.verdict:
                    self._judged(name, look.verdict)
                agent.version, agent.backlog = look.version, look.backlog
                agent.learning, agent.verdict = look.learning, look.verdict
        recent_s = time.time() - 10.0
        scene.seconds = self._seconds()
        scene.requests, scene.failed = len(requests), sum(not one.ok for one in requests)
        scene.requests_per_s = sum(one.ended_s > recent_s for one in requests[-2000:]) / 10.0
        scene.stored, scene.dead = self._window.stored(), sum(self._window.dead().values())
        scene.promoted, scene.kills = len(self._window.promotions()), len(self._chaos.kills)

    def _sample(self) -> None:
        """Held-out prompts, a few at a time, for the curves that are shown; figures come from the exams."""
        turn = 0
        while not self._curtain.wait(SAMPLE_S):
            for exam in self._exams:
                tasks = _some(exam, turn)
                said = self._answers(tasks)
                self._record.exam_requests += len(said)
                self._record.exam_failed += sum(answer is None for answer in said)
                agent = self._scene.agents[exam.agent]
                agent.examined = None
                agent.recent.extend(answer == task.wanted for task, answer in zip(tasks, said, strict=True))
                agent.history.append(agent.accuracy)
            turn += 1

    def _leave(self) -> None:
        self._cast.leave()
        self._hear_all()

    def _drain(self) -> None:
        """Everything that Kafka acknowledged is in the ledger, or time is up."""
        until = time.monotonic() + DRAIN_S_MAX
        while time.monotonic() < until and self.books.missing():
            time.sleep(TICK_S)
        self._look()

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _say(self, line: str) -> None:
        self._scene.seconds = self._seconds()
        self._view.say(line)


def _developer(agent: str) -> str:
    return f"developer-{agent}"


def _some(exam: Exam, turn: int) -> Sequence[Task]:
    first = turn * SAMPLED * 7 % len(exam.fires)  # in jumps, so that every rule gets its turn
    return [exam.fires[(first + step * 11) % len(exam.fires)] for step in range(SAMPLED)]
