"""Collects what the report needs while the demo runs, and computes the figures at its end."""

import json
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.house_rules.chaos import Chaos
from examples.house_rules.delays import Delay, acknowledgements, delays
from examples.house_rules.evaluation import EvaluationResult
from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.people.feedback_producer import TOPIC
from examples.house_rules.report import AgentFigures, Figures, Request, Swap
from examples.house_rules.stack import Stack

POLL_S = 0.1
REPLAY_S_MAX = 600.0


@dataclass(slots=True, kw_only=True)
class DemoCounts:
    """What is counted while the demo runs."""

    requests: list[Request] = field(default_factory=list)  # of the background traffic
    evaluation_requests: int = 0
    evaluation_failed: int = 0
    harm_s: float | None = None  # when the bad batch was sent (Unix time)

    def add_request(self, report: Mapping[str, Any]) -> None:
        """Count one request as the load reported it."""
        self.requests.append(
            Request(started_s=report["started_s"], ended_s=report["ended_s"], ok=report["ok"])
        )

    def add_evaluation(self, results: Mapping[str, EvaluationResult]) -> None:
        """Count the requests of an evaluation."""
        self.evaluation_requests += sum(result.requests for result in results.values())
        self.evaluation_failed += sum(result.failed for result in results.values())


class RoutingWatch:
    """Asks the gateway for its routing ten times a second and notes when it first routes to each version."""

    def __init__(self, gateway: str) -> None:
        self._url = f"{gateway}/routing"
        self._first_s: dict[tuple[str, str], float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="routing-watch", daemon=True)

    def start(self) -> None:
        """Start the thread that asks."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def first_s(self, agent: str, version: str) -> float | None:
        """When the gateway was first seen to route the agent there (Unix time); None where it was not."""
        return self._first_s.get((agent, version))

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                with urllib.request.urlopen(self._url, timeout=5.0) as answer:
                    routed = json.load(answer)["agents"]
            except (OSError, ValueError, KeyError):
                continue
            for agent_version in routed.items():
                self._first_s.setdefault(agent_version, time.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSources:
    """Everything that the figures are computed from."""

    stack: Stack
    ledger: LedgerView
    counts: DemoCounts
    routing_watch: RoutingWatch
    chaos: Chaos
    journals: Path

    def journal(self) -> list[Mapping[str, Any]]:
        """Every event that Kafka acknowledged, as the people wrote it down."""
        files = sorted(self.journals.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def missing(self) -> int:
        """How many acknowledged events are neither events nor dead letters in the ledger."""
        acknowledged = {(line["partition"], line["offset"]) for line in self.journal()}
        return len(acknowledged - self.ledger.places(TOPIC))

    def delays(self) -> list[Delay]:
        """How long the promoted versions took, in order of promotion."""
        return delays(self.ledger.timelines(), acknowledgements(self.journal()))

    def bad_batch_refused(self, agent: str) -> bool:
        """Whether a candidate of the agent was refused after the bad batch was sent."""
        harm_s = self.counts.harm_s
        return harm_s is not None and self.ledger.refusals(agent, after_s=harm_s) > 0

    def figures(
        self,
        before: Mapping[str, EvaluationResult],
        after: Mapping[str, EvaluationResult],
        *,
        bad_batch: str | None,
        first_followed_s: float | None,
        seconds: float,
    ) -> Figures:
        """All figures. `bad_batch` is the agent that the bad batch was sent to; None where there was none."""
        promotions = self.ledger.promotions()
        return Figures(
            agents={
                agent: AgentFigures(
                    before=before[agent],
                    after=after[agent],
                    versions=sum(promotion.agent == agent for promotion in promotions),
                    refused=self.ledger.refusals(agent),
                )
                for agent in before
            },
            agents_per_pass_max=self.ledger.agents_per_pass_max(),
            requests=tuple(self.counts.requests),
            evaluation_requests=self.counts.evaluation_requests,
            evaluation_failed=self.counts.evaluation_failed,
            swaps=self._swaps(),
            event_to_live_s=self.ledger.events_to_live_s(),
            delays=self.delays(),
            first_followed_s=first_followed_s,
            events_produced=len(self.journal()),
            events_stored=self.ledger.stored(),
            events_missing=self.missing(),
            dead_letters=self.ledger.dead(),
            bad_batch_refused=None if bad_batch is None else self.bad_batch_refused(bad_batch),
            audit=self._audit(),
            broker=self.stack.broker,
            kills=tuple(self.chaos.kills),
            replayed={number: self._replays(number) for number in sorted(self.chaos.killed_passes)},
            seconds=seconds,
        )

    def _swaps(self) -> Sequence[Swap]:
        return [
            Swap(
                agent=promotion.agent,
                decided_s=promotion.decided_s,
                adopted_s=max(
                    promotion.decided_s,
                    self.routing_watch.first_s(promotion.agent, promotion.version) or promotion.decided_s,
                ),
            )
            for promotion in self.ledger.promotions()
        ]

    def _audit(self) -> str:
        completed = self.stack.run_clorad("audit", "--json", "--verify")
        if completed.returncode == 0:
            return "clean"
        return (completed.stdout + completed.stderr).strip()[-300:]

    def _replays(self, number: int) -> bool:
        return self.stack.run_clorad("replay", str(number), wait_s_max=REPLAY_S_MAX).returncode == 0
