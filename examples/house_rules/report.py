"""The demo's report: the figures that go to .demo/report.json, and the goals that they have to meet."""

import json
import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from examples.house_rules.chaos import Kill
from examples.house_rules.delays import Delay
from examples.house_rules.evaluation import EvaluationResult
from examples.house_rules.people.poison import REASONS
from examples.house_rules.stack import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFigures:
    """One agent's results before and after."""

    before: EvaluationResult
    after: EvaluationResult
    versions: int  # promoted
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One agent's move to another version: decided, and then routed to by the gateway (Unix time)."""

    agent: str
    decided_s: float
    adopted_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of the background traffic."""

    started_s: float
    ended_s: float
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that was measured in one run."""

    agents: Mapping[str, AgentFigures]
    agents_per_pass_max: int
    requests: Sequence[Request]
    evaluation_requests: int
    evaluation_failed: int
    swaps: Sequence[Swap]
    event_to_live_s: Sequence[float]
    delays: Sequence[Delay]  # of the promoted versions, from the last correction to the first answer
    first_followed_s: float | None  # from vLLM's first answer until an agent followed its first rule
    events_produced: int
    events_stored: int
    events_missing: int  # Kafka acknowledged them and the ledger does not have them
    dead_letters: Mapping[str, int]
    bad_batch_refused: bool | None  # None: no bad batch was sent
    audit: str  # "clean", or what `clorad audit` printed
    broker: str
    kills: Sequence[Kill]
    replayed: Mapping[int, bool]  # killed pass -> the hashes were the same
    seconds: float

    @property
    def spanning(self) -> int:
        """How many requests were in flight during some swap."""
        return sum(
            any(
                request.started_s <= swap.adopted_s and request.ended_s >= swap.decided_s
                for swap in self.swaps
            )
            for request in self.requests
        )

    @property
    def in_flight_at_swaps_min(self) -> int:
        """The fewest requests that were in flight when a promotion was decided."""
        counts = [
            sum(request.started_s <= swap.decided_s <= request.ended_s for request in self.requests)
            for swap in self.swaps
        ]
        return min(counts, default=0)

    @property
    def failed(self) -> int:
        """How many requests got no answer, those of the evaluations included."""
        return self.evaluation_failed + sum(not request.ok for request in self.requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One thing the demo has to show, and whether it did."""

    what: str
    met: bool
    got: str


def goals(figures: Figures, *, whole: bool, full: bool, chaos: bool) -> list[Goal]:
    """The goals about learning and, where `whole` had people for it, about traffic and bad input.

    A `full` run has every wave, a bad batch, and more traffic.
    """
    reached = [
        goal
        for name, agent in figures.agents.items()
        for goal in _of_agent(name, agent, whole=whole, versions_min=2 if full else 1)
    ]
    reached.append(_goal("no request failed", figures.failed == 0, figures.failed))
    reached.append(_goal("audit clean", figures.audit == "clean", figures.audit))
    reached.append(
        _goal(
            "every event Kafka acknowledged is in the ledger",
            figures.events_missing == 0,
            f"{figures.events_missing} of {figures.events_produced} missing",
        )
    )
    if not whole:
        return reached
    requests, in_flight, spanning = (1500, 16, 100) if full else (300, 8, 20)
    reached += [
        _goal(
            "two agents or more in one pass", figures.agents_per_pass_max >= 2, figures.agents_per_pass_max
        ),
        _goal(f"{requests:,} requests or more", len(figures.requests) >= requests, len(figures.requests)),
        _goal(
            f"{in_flight} or more in flight at promotions",
            figures.in_flight_at_swaps_min >= in_flight,
            figures.in_flight_at_swaps_min,
        ),
        _goal(f"{spanning} or more span a swap", figures.spanning >= spanning, figures.spanning),
        _goal(
            "poison set aside with its reasons",
            set(REASONS) <= set(figures.dead_letters),
            dict(figures.dead_letters),
        ),
    ]
    if full:
        refused = figures.bad_batch_refused
        reached.append(_goal("the bad batch was refused", refused is True, refused))
    if chaos:
        same = bool(figures.replayed) and all(figures.replayed.values())
        reached.append(_goal("killed passes replay to the same hashes", same, dict(figures.replayed)))
    return reached


def as_json(figures: Figures, reached: Sequence[Goal]) -> dict[str, Any]:
    """The figures as report.json has them."""
    swap_ms = [(swap.adopted_s - swap.decided_s) * 1000 for swap in figures.swaps]
    return {
        "agents": {name: _agent_json(agent) for name, agent in figures.agents.items()},
        "agents_per_pass_max": figures.agents_per_pass_max,
        "requests": len(figures.requests) + figures.evaluation_requests,
        "requests_failed": figures.failed,
        "requests_spanning_swaps": figures.spanning,
        "in_flight_at_swaps_min": figures.in_flight_at_swaps_min,
        "swaps": len(figures.swaps),
        "swap_ms_p50": round(_quantile(swap_ms, 0.5)),
        "event_to_live_s_p50": round(_quantile(figures.event_to_live_s, 0.5), 1),
        "event_to_live_s_p95": round(_quantile(figures.event_to_live_s, 0.95), 1),
        "first_followed_s": figures.first_followed_s and round(figures.first_followed_s, 1),
        "delays": [delay.to_json() for delay in figures.delays],
        "events_produced": figures.events_produced,
        "events_stored": figures.events_stored,
        "events_missing": figures.events_missing,
        "dead_letters": dict(figures.dead_letters),
        "bad_batch_refused": figures.bad_batch_refused,
        "audit": figures.audit,
        "broker": figures.broker,
        "kills": [asdict(kill) for kill in figures.kills],
        "replayed": {str(number): same for number, same in figures.replayed.items()},
        "seconds": round(figures.seconds),
        "commit": _commit(),
        "cores": os.cpu_count(),
        "goals": [asdict(goal) for goal in reached],
    }


def write(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report to the file."""
    path.write_text(json.dumps(report, indent=1) + "\n")


def _of_agent(name: str, agent: AgentFigures, *, whole: bool, versions_min: int) -> list[Goal]:
    before, after = agent.before, agent.after
    reached = [
        _goal(f"{name}: followed at most 45 % before", before.followed <= 0.45, f"{before.followed:.0%}"),
        _goal(
            f"{name}: follows 90 % or more now",
            after.followed >= 0.90,
            f"{after.followed:.0%} of n={after.n}",
        ),
        _goal(
            f"{name}: {versions_min} or more versions promoted",
            agent.versions >= versions_min,
            agent.versions,
        ),
    ]
    if whole:
        lost = before.kept - after.kept
        reached.append(
            _goal(f"{name}: near misses fire at most 3 %", after.leaked <= 0.03, f"{after.leaked:.1%}")
        )
        reached.append(_goal(f"{name}: the rest lost at most 3 points", lost <= 0.03, f"{lost:+.1%}"))
    return reached


def _goal(what: str, met: bool, got: object) -> Goal:
    return Goal(what=what, met=met, got=str(got))


def _agent_json(agent: AgentFigures) -> dict[str, Any]:
    return {
        "before": agent.before.followed,
        "after": agent.after.followed,
        "n": agent.after.n,
        "near_miss_before": agent.before.leaked,
        "near_miss_after": agent.after.leaked,
        "retention_before": agent.before.kept,
        "retention_after": agent.after.kept,
        "versions": agent.versions,
        "refused": agent.refused,
    }


def _quantile(values: Sequence[float], share: float) -> float:
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def _commit() -> str:
    completed = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=10.0,
    )
    return completed.stdout.strip()
