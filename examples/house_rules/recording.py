"""The books of one play: what was collected while it ran, and the figures they add up to."""

import json
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.house_rules.chaos import Chaos
from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.measure import ExamResult
from examples.house_rules.people.post import TOPIC
from examples.house_rules.report import AgentFigures, Figures, Request, Swap
from examples.house_rules.stack import Stack

POLL_S = 0.1
REPLAY_S_MAX = 600.0


@dataclass(slots=True, kw_only=True)
class PlayRecording:
    """What is counted while the play runs."""

    requests: list[Request] = field(default_factory=list)  # of the background traffic
    exam_requests: int = 0
    exam_failed: int = 0
    harm_s: float | None = None  # when the bad batch had been sent

    def add_request(self, heard: Mapping[str, Any]) -> None:
        """One request as the load reported it."""
        self.requests.append(Request(started_s=heard["started_s"], ended_s=heard["ended_s"], ok=heard["ok"]))

    def add_marks(self, marks: Mapping[str, ExamResult]) -> None:
        """The requests of an exam."""
        self.exam_requests += sum(mark.requests for mark in marks.values())
        self.exam_failed += sum(mark.failed for mark in marks.values())


class Adoptions:
    """Watches the gateway's routing: when did it first route an agent to a version?"""

    def __init__(self, gateway: str) -> None:
        self._url = f"{gateway}/routing"
        self._first_s: dict[tuple[str, str], float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="adoptions", daemon=True)

    def start(self) -> None:
        """Watching."""
        self._thread.start()

    def stop(self) -> None:
        """No longer watching."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def of(self, agent: str, version: str) -> float | None:
        """When the gateway first routed the agent there; None where nobody saw it."""
        return self._first_s.get((agent, version))

    def _watch(self) -> None:
        while not self._over.wait(POLL_S):
            try:
                with urllib.request.urlopen(self._url, timeout=5.0) as answer:
                    routed = json.load(answer)["agents"]
            except (OSError, ValueError, KeyError):
                continue
            for place in routed.items():
                self._first_s.setdefault(place, time.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Everything the figures are made from."""

    stack: Stack
    window: LedgerView
    record: PlayRecording
    adoptions: Adoptions
    chaos: Chaos
    journals: Path

    def journal(self) -> list[Mapping[str, Any]]:
        """Every event that Kafka acknowledged to somebody."""
        files = sorted(self.journals.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def missing(self) -> int:
        """Events that Kafka acknowledged and the ledger does not have, neither stored nor set aside."""
        acknowledged = {(line["partition"], line["offset"]) for line in self.journal()}
        return len(acknowledged - self.window.places(TOPIC))

    def refused_harm(self, agent: str) -> bool:
        """Whether a candidate was refused since the bad batch had been sent."""
        harm_s = self.record.harm_s
        return harm_s is not None and self.window.refusals(agent, after_s=harm_s) > 0

    def figures(
        self,
        before: Mapping[str, ExamResult],
        after: Mapping[str, ExamResult],
        *,
        bad_batch: str | None,
        seconds: float,
    ) -> Figures:
        """All figures; `bad_batch` is the agent it was sent to, None where there was none."""
        promotions = self.window.promotions()
        return Figures(
            agents={
                agent: AgentFigures(
                    before=before[agent],
                    after=after[agent],
                    versions=sum(one.agent == agent for one in promotions),
                    refused=self.window.refusals(agent),
                )
                for agent in before
            },
            agents_per_pass_max=self.window.agents_per_pass_max(),
            requests=tuple(self.record.requests),
            exam_requests=self.record.exam_requests,
            exam_failed=self.record.exam_failed,
            swaps=self._swaps(),
            event_to_live_s=self.window.events_to_live_s(),
            events_produced=len(self.journal()),
            events_stored=self.window.stored(),
            events_missing=self.missing(),
            dead_letters=self.window.dead(),
            bad_batch_refused=None if bad_batch is None else self.refused_harm(bad_batch),
            audit=self._audit(),
            broker=self.stack.broker,
            kills=tuple(self.chaos.kills),
            replayed={number: self._replays(number) for number in sorted(self.chaos.killed_passes)},
            seconds=seconds,
        )

    def _swaps(self) -> Sequence[Swap]:
        return [
            Swap(
                agent=one.agent,
                decided_s=one.decided_s,
                adopted_s=max(one.decided_s, self.adoptions.of(one.agent, one.version) or one.decided_s),
            )
            for one in self.window.promotions()
        ]

    def _audit(self) -> str:
        done = self.stack.run_clorad("audit", "--json", "--verify")
        return "clean" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-300:]

    def _replays(self, number: int) -> bool:
        return self.stack.run_clorad("replay", str(number), wait_s_max=REPLAY_S_MAX).returncode == 0
