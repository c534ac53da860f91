"""Exports the state of the ledger as metrics. Only the leader of the fleet does, so nothing counts twice.

Decisions are counted from the ledger's rows, so that a person's rollback is counted too.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
from opentelemetry import metrics

from daemon.learning.scheduler import (
    Freshness,
    next_turn,
    readiness,
    replies_of,
    shows_replies,
    waiting_reason,
    waits_for_replies,
)
from feedback.counters import start_at_zero
from feedback.gauge import Gauge
from ledger.database import Connection, Database
from ledger.errors import LedgerUnavailable
from ledger.learning.agents import all_agents
from ledger.learning.backlog import Backlog
from ledger.reports.health import Decided, LedgerHealth, decided_since, ledger_health, newest_decision
from ledger.versions.decisions import BY_CANARY, BY_GATE, BY_NOBODY, BY_OUTCOMES, Verdict

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("daemon")
_agents = Gauge(
    _meter,
    "clorad.ledger.agents",
    unit="{agent}",
    description="agents by what they do; waiting ones have feedback, but not enough yet",
)
_untaught = Gauge(
    _meter,
    "clorad.ledger.untaught",
    unit="{event}",
    description="events that can be trained on and are not taught",
)
_untaught_oldest = Gauge(
    _meter, "clorad.ledger.untaught.oldest", unit="s", description="age of the oldest of them"
)
_due_oldest = Gauge(
    _meter, "clorad.ledger.due.oldest", unit="s", description="the same, of agents that are due"
)
_stuck = Gauge(
    _meter,
    "clorad.ledger.stuck",
    unit="{event}",
    description="events that cannot be trained on until an interaction arrives or a person decides",
)
_candidates = Gauge(
    _meter, "clorad.ledger.candidates", unit="{version}", description="versions without a verdict"
)
_candidate_oldest = Gauge(
    _meter, "clorad.ledger.candidates.oldest", unit="s", description="age of the oldest of them"
)
_open_turns = Gauge(
    _meter,
    "clorad.ledger.turns.open",
    unit="{turn}",
    description="open turns; no: a learner died during them, and none has resumed them",
)
_pass_oldest = Gauge(
    _meter, "clorad.ledger.passes.oldest", unit="s", description="age of the oldest open pass"
)
_leases = Gauge(_meter, "clorad.ledger.leases", unit="{lease}", description="leases held now")
_last = Gauge(
    _meter,
    "clorad.ledger.last.timestamp",
    unit="s",
    description="Unix time of the last event, closed turn, version, decision, and change of a champion",
)
_generation = Gauge(
    _meter,
    "clorad.ledger.generation",
    unit="{generation}",
    description="a number that rises whenever routing may have changed",
)
_restores = Gauge(
    _meter,
    "clorad.ledger.restores",
    unit="{restore}",
    description="how often the ledger was restored from a backup",
)
_decisions = _meter.create_counter(
    "clorad.gate.decisions",
    unit="{decision}",
    description="decisions about versions, of the gate, of canaries and of people",
)
_to_live = _meter.create_histogram(
    "clorad.event.to_live",
    unit="s",
    description="seconds from storing an event to the promotion of the version that was trained on it",
    explicit_bucket_boundaries_advisory=(
        *(10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0),
        *(3600.0, 7200.0, 14400.0, 28800.0, 86400.0, 259200.0, 604800.0),
    ),
)
_GAUGES = (
    *(_agents, _untaught, _untaught_oldest, _due_oldest, _stuck, _candidates, _candidate_oldest),
    *(_open_turns, _pass_oldest, _leases, _last, _generation, _restores),
)

UPDATE_EVERY_S = 10.0
UPDATE_SHARE_MAX = 0.05  # of the time: counting long backlogs takes seconds

STATES = ("idle", "waiting", "due", "learning", "judging")

_USUAL_DECISIONS = (
    *((verdict, BY_GATE) for verdict in (Verdict.CANARY, Verdict.PROMOTE, Verdict.REFUSE, Verdict.ABSTAIN)),
    *((verdict, BY_GATE) for verdict in (Verdict.KEEP, Verdict.ROLLBACK)),  # champions that are judged again
    (Verdict.ROLLBACK, "person"),
    (Verdict.REINSTATE, "person"),
    (Verdict.ROLLBACK, BY_CANARY),
    *((verdict, BY_OUTCOMES) for verdict in (Verdict.CONFIRM, Verdict.PROMOTE, Verdict.ABSTAIN)),
)


def record_ledger_metrics(
    database: Database,
    freshness: Freshness,
    over: threading.Event,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Update the metrics every `UPDATE_EVERY_S` until `over` is set. Raises `LedgerRefused`."""
    start_at_zero(_decisions, *({"verdict": verdict.value, "by": by} for verdict, by in _USUAL_DECISIONS))
    last_decision: int | None = None
    try:
        while not over.is_set():
            began_s = clock()
            try:
                last_decision = _update(database, freshness, last_decision)
            except LedgerUnavailable as fault:
                log.warning("ledger metrics not read", fault=str(fault))
                withdraw_gauges()  # the last known values may be wrong by now
            over.wait(max(UPDATE_EVERY_S, (clock() - began_s) / UPDATE_SHARE_MAX))
    finally:
        withdraw_gauges()


def agent_states(connection: Connection, backlogs: Sequence[Backlog], freshness: Freshness) -> list[str]:
    """The state of each agent; one that waits for replies that must stay as they are is not due."""
    capturing = {name for name, agent in all_agents(connection).items() if shows_replies(agent)}
    states = {backlog.agent: agent_state(backlog, freshness) for backlog in backlogs}
    due = [backlog for backlog in backlogs if states[backlog.agent] == "due" and backlog.agent in capturing]
    replies = replies_of(connection, due, freshness) if due else {}
    for backlog in due:
        if waits_for_replies(backlog, replies[backlog.agent], freshness, captures=True) is not None:
            states[backlog.agent] = "waiting"
    return list(states.values())


def agent_state(backlog: Backlog, freshness: Freshness) -> str:
    """One of `STATES`. `clorad status` gives the reason for `waiting`.

    What only planning can find out counts as waiting: whether a part of a refused batch can be judged by now,
    and whether there is a no-harm suite after an abstention for want of one.
    """
    if backlog.is_learning:
        return "learning"
    if backlog.has_candidate:
        return "judging"
    if backlog.untaught == 0:
        return "idle"
    if waiting_reason(backlog, freshness) is not None or next_turn(backlog, freshness).needs_suite:
        return "waiting"
    return "due" if readiness(backlog, freshness).rest_is_due else "waiting"


def withdraw_gauges() -> None:
    """Stop exporting gauges of the ledger's state. Counters keep their values."""
    for gauge in _GAUGES:
        gauge.withdraw()


def _update(database: Database, freshness: Freshness, last_decision: int | None) -> int:
    """Update every metric. Decisions after number `last_decision` are counted; returns the newest number."""
    with database.read() as connection:
        health = ledger_health(connection)
        if last_decision is None:
            last_decision = newest_decision(connection)
        newest, decisions = decided_since(connection, last_decision)
        states = agent_states(connection, health.backlogs, freshness)
    _set_gauges(health, states)
    for decision in decisions:
        _count(decision)
    return newest


def _set_gauges(health: LedgerHealth, states: Sequence[str]) -> None:
    due = [backlog for backlog, state in zip(health.backlogs, states, strict=True) if state == "due"]
    agents_by_state = Counter(states)
    _agents.replace((agents_by_state[state], {"state": state}) for state in STATES)
    _untaught.set(sum(backlog.untaught for backlog in health.backlogs))
    _untaught_oldest.set(_oldest_s(health.backlogs))
    _due_oldest.set(_oldest_s(due))
    _stuck.replace((count, {"status": status.value}) for status, count in health.stuck.items())
    _candidates.set(health.candidates)
    _candidate_oldest.set(health.candidate_age_s)
    _open_turns.replace([(health.turns_held, {"held": "yes"}), (health.turns_left, {"held": "no"})])
    _pass_oldest.set(health.pass_age_s)
    _leases.replace((health.leases.get(kind, 0), {"of": kind}) for kind in ("agent", "fleet"))
    _last.replace((time_s, {"what": kind}) for kind, time_s in health.last_s.items())
    _generation.set(health.generation)
    _restores.set(health.restores)


def _count(decision: Decided) -> None:
    by = decision.by if decision.by in (BY_GATE, BY_CANARY, BY_OUTCOMES, BY_NOBODY) else "person"
    _decisions.add(1, {"verdict": decision.verdict.value, "by": by})
    for waited_s in decision.waited_s:
        _to_live.record(waited_s)


def _oldest_s(backlogs: Sequence[Backlog]) -> float:
    return max((backlog.oldest_age_s for backlog in backlogs), default=0.0)
