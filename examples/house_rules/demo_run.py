"""Runs the demo: announces waves of house rules, waits until the agents follow them, counts everything.

`DemoRun.run` goes through the steps in order. The servers are in stack.py, the people in processes.py, the
questions in evaluation.py, the screen in view.py, the figures in recording.py and report.py.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any

from examples.house_rules.chaos import FAILPOINTS, Chaos
from examples.house_rules.demo_options import DemoOptions
from examples.house_rules.evaluation import (
    EvaluationResult,
    build_evaluation,
    evaluate,
    through_gateway,
)
from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.people.feedback_producer import TOPIC
from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.processes import PeopleProcesses, PersonOptions
from examples.house_rules.progress import DemoProgress
from examples.house_rules.recording import DemoCounts, FigureSources, RoutingWatch
from examples.house_rules.report import Figures
from examples.house_rules.sampling import sample
from examples.house_rules.shown_talks import ShownTalks
from examples.house_rules.stack import Stack
from examples.house_rules.view import View

TICK_S = 0.5
INTAKE_S_MAX = 120.0
DRAIN_S_MAX = 60.0
SETTLE_S_MAX = 240.0  # for the verdict on the bad batch, and for the last kill

_FOR_ALL_AGENTS = ("operator", "environment", "load", "poison")


class DemoFailedError(RuntimeError):
    """The demo cannot go on. The message says why in one line."""


class DemoRun:
    """One run of the demo on a stack that has started."""

    def __init__(
        self, options: DemoOptions, stack: Stack, ledger: LedgerView, view: View, progress: DemoProgress
    ) -> None:
        self._options = options
        self._stack = stack
        self._ledger = ledger
        self._view = view
        self._progress = progress
        waves = max(map(options.world.waves, options.agents))
        self._people = PeopleProcesses(stack, options.world_file, waves=waves, seed=options.seed)
        self._chaos = Chaos(stack, ledger, FAILPOINTS if options.chaos else {})
        self._answers = through_gateway(GatewayClient(stack.gateway))
        self._evaluations = [build_evaluation(options.world, agent, n=options.n) for agent in options.agents]
        self._counts = DemoCounts()
        self._routing_watch = RoutingWatch(stack.gateway)
        self._sources = FigureSources(
            stack=stack,
            ledger=ledger,
            counts=self._counts,
            routing_watch=self._routing_watch,
            chaos=self._chaos,
            journals=self._people.journals,
        )
        self._talks = ShownTalks(options.world, stack.gateway, self._show)
        self._ready_s: float | None = None  # when vLLM had answered once (monotonic)
        self._first_followed_s: float | None = None
        self._finished = threading.Event()
        self._bad_batch: str | None = None  # the agent that gets the bad batch
        self._rush = 0
        self._fed: set[str] = set()  # agents whose developers wait for another version

    def run(self) -> Figures:
        """Run every step and return the figures. Raises `DemoFailedError` or `StackFailedError`."""
        sampler = threading.Thread(
            target=sample,
            args=(self._evaluations, self._answers, self._counts, self._progress, self._finished),
            daemon=True,
        )
        try:
            self._progress.headline = "vLLM starts"
            self._chaos.start()  # roles and people start while vLLM does
            self._start_people()
            self._stack.wait_ready()
            self._ready_s = time.monotonic()
            self._stack.wait_for_agents()
            self._wait_for_intake()
            before = self._evaluate("what the base model does by itself")
            self._routing_watch.start()
            sampler.start()
            self._teach()
            self._settle()
            self._finished.set()
            sampler.join()
            self._stop_people()
            after = self._evaluate("every question is asked again")
            self._drain()
            self._progress.headline = "the end"
            return self._sources.figures(
                before,
                after,
                bad_batch=self._bad_batch,
                first_followed_s=self._first_followed_s,
                seconds=self._seconds(),
            )
        finally:
            self._finished.set()
            self._routing_watch.stop()
            self._people.stop()

    def _wait_for_intake(self) -> None:
        """Wait until intake has its partitions: on a Kafka that holds older events it starts at the end."""
        until = time.monotonic() + INTAKE_S_MAX
        while not self._ledger.is_reading(TOPIC):
            if time.monotonic() > until or self._stack.faults():
                raise DemoFailedError(f"intake does not read {TOPIC}, see {self._stack.folder}")
            time.sleep(TICK_S)

    def _evaluate(self, headline: str) -> Mapping[str, EvaluationResult]:
        self._progress.headline = headline
        self._view.refresh()
        results = evaluate(self._evaluations, self._answers)
        self._counts.add_evaluation(results)
        for agent, result in results.items():
            self._progress.agents[agent].evaluated = result.followed
            self._progress.agents[agent].history.append(result.followed)
            self._show(
                f"{agent}: follows its rules on {result.followed:.0%} of n={result.n}, "
                f"fires on {result.leaked:.1%} of near misses, keeps {result.kept:.0%} of the rest"
            )
        return results

    def _start_people(self) -> None:
        agents = self._options.agents
        for agent in agents:
            self._people.start(PersonOptions(name=_developer(agent), module="developer", agents=[agent]))
        if self._options.whole:
            for name in _FOR_ALL_AGENTS:
                self._people.start(PersonOptions(name=name, module=name, agents=agents))

    def _teach(self) -> None:
        """Announce waves until every agent follows all its rules; each agent goes at its own pace.

        The others begin when the first agent is being trained: its pass is short, they share the next one.
        """
        self._progress.headline = "agents learn their house rules"
        first, *others = self._options.agents
        self._announce(first, 1)
        while any(agent.followed < agent.waves for agent in self._progress.agents.values()):
            self._tick()
            if others and (self._progress.agents[first].learning or self._progress.agents[first].verdict):
                for agent in others:
                    self._announce(agent, 1)
                others = []

    def _settle(self) -> None:
        """Wait for the verdict on the bad batch, and until every planned kill has happened."""
        agent = self._bad_batch
        self._progress.headline = "the last candidates are judged"
        until = time.monotonic() + SETTLE_S_MAX
        while time.monotonic() < until and not (
            (agent is None or self._sources.bad_batch_refused(agent)) and self._chaos.is_over()
        ):
            self._tick()

    def _announce(self, agent: str, wave: int) -> None:
        self._progress.agents[agent].wave = wave
        rules = ", ".join(rule.name for rule in self._options.world.of_wave(agent, wave))
        self._show(f"{agent}: wave {wave} announced: {rules}")
        listeners = [
            name for name in self._people.names if name == _developer(agent) or name in _FOR_ALL_AGENTS
        ]
        self._people.announce(listeners, agent, wave)

    def _tick(self) -> None:
        """Half a second: restart what was killed, read what people report, renew the screen."""
        self._chaos.tick(self._show)
        if faults := self._stack.faults():
            raise DemoFailedError(faults[0])
        if failed := self._people.failed():
            raise DemoFailedError(
                f"{failed[0]} ended with an error, see {self._stack.folder}/{failed[0]}.log"
            )
        if self._seconds() > self._options.seconds_max:
            raise DemoFailedError(f"not done after {self._options.seconds_max:.0f} s")
        self._read_reports()
        self._read_ledger()
        rush = self._options.rushing if self._ledger.is_judging() else 0
        if "load" in self._people.names and self._rush != rush:
            self._rush = rush
            self._people.set_rush("load", rush)
        self._view.refresh()
        time.sleep(TICK_S)

    def _read_reports(self) -> None:
        while not self._people.reports.empty():
            self._read_report(self._people.reports.get())

    def _read_report(self, report: Mapping[str, Any]) -> None:
        person = report["person"]
        match report["event"]:
            case "request":
                self._counts.add_request(report)
            case "followed":
                self._mark_followed(report["agent"], report["wave"])
            case "feedback":
                if report["makes_a_turn"]:
                    self._fed.add(report["agent"])
                self._show(f"{person}: {report['corrections']} corrections, {report['approvals']} approvals")
            case "takeover":
                self._talks.show_takeover(person, report["agent"], report["lines"])
            case "interventions":
                self._show(f"{person}: stepped in {report['count']} times at {report['agent']}")
            case "harm":
                self._counts.harm_s = report["at_s"]
                self._show(f"{person}: {report['corrections']} corrections, each with another prompt's reply")

    def _mark_followed(self, name: str, wave: int) -> None:
        agent = self._progress.agents[name]
        agent.followed = wave
        self._show(f"{name}: follows the rules of wave {wave}")
        self._talks.show_next(name, wave)
        if self._first_followed_s is None:
            self._first_followed_s = self._seconds()
            self._show_change(name)
        if self._options.chaos:
            self._chaos.empty_a_replica(self._show)
        if wave < agent.waves:
            self._announce(name, wave + 1)
        elif self._options.whole and self._options.full and self._bad_batch is None:
            self._bad_batch = name
            self._people.start(PersonOptions(name="careless", module="careless", agents=[name]))
            self._people.announce(["careless"], name, wave)

    def _show_change(self, name: str) -> None:
        """What people see of it: a correction, the answers before and after, and how long it took."""
        change = self._ledger.first_change(name)
        taken = [delay.text for delay in self._sources.delays() if delay.agent == name]
        for line in (*(change.lines if change else ()), *taken):
            self._show(f"  {line}")

    def _show_verdict(self, name: str, verdict: str) -> None:
        self._show(f"{name}: {verdict}")
        if not self._finished.is_set() and (" refuse:" in verdict or " abstain:" in verdict):
            self._people.report_refusal([_developer(name)], name)

    def _read_ledger(self) -> None:
        """The progress on the screen is as the ledger and the counters have it."""
        progress, requests = self._progress, self._counts.requests
        for name, state in self._ledger.agents().items():
            if (agent := progress.agents.get(name)) is not None:
                if state.verdict != agent.verdict:
                    self._show_verdict(name, state.verdict)
                if state.learning:
                    self._fed.discard(name)  # the round was enough
                elif state.lacks_events and name in self._fed and not self._sources.missing():
                    self._ask_for_more(name)
                agent.version, agent.backlog = state.version, state.backlog
                agent.learning, agent.verdict = state.learning, state.verdict
        recent_s = time.time() - 10.0
        progress.seconds = self._seconds()
        progress.requests, progress.failed = len(requests), sum(not request.ok for request in requests)
        progress.requests_per_s = sum(request.ended_s > recent_s for request in requests[-2000:]) / 10.0
        progress.stored, progress.dead = self._ledger.stored(), sum(self._ledger.dead().values())
        progress.promoted, progress.kills = len(self._ledger.promotions()), len(self._chaos.kills)

    def _ask_for_more(self, name: str) -> None:
        """Tell the developer that the round was too small: chance held out too few corrections."""
        state = self._ledger.agents().get(name)
        if state is not None and state.lacks_events:  # still, now that everything is stored
            self._fed.discard(name)
            self._people.report_refusal([_developer(name)], name)

    def _stop_people(self) -> None:
        self._people.stop()
        self._read_reports()

    def _drain(self) -> None:
        """Wait until the ledger has everything that Kafka acknowledged, for a minute at most."""
        until = time.monotonic() + DRAIN_S_MAX
        while time.monotonic() < until and self._sources.missing():
            time.sleep(TICK_S)
        self._read_ledger()

    def _seconds(self) -> float:
        return 0.0 if self._ready_s is None else time.monotonic() - self._ready_s

    def _show(self, line: str) -> None:
        self._progress.seconds = self._seconds()
        self._view.show(line)


def _developer(agent: str) -> str:
    return f"developer-{agent}"
