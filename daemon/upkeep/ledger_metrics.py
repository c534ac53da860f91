"""The ledger's vitals as meters, told by whoever leads the fleet: one process, so that nothing counts twice.

Decisions are counted from the ledger's rows, whoever took them: also a rollback by a person at a shell.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
from opentelemetry import metrics

from daemon.learning.scheduler import Freshness, waiting_reason
from feedback.counters import start_at_zero
from feedback.gauge import Gauge
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.learning.backlog import Backlog
from ledger.reports.health import Decided, LedgerHealth, decided_since, ledger_health, newest_decision
from ledger.versions.decisions import Verdict

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("daemon")
_agents = Gauge(_meter, "clorad.ledger.agents", unit="{agent}")
_untaught = Gauge(_meter, "clorad.ledger.untaught", unit="{event}")
_untaught_oldest = Gauge(_meter, "clorad.ledger.untaught.oldest", unit="s")
_due_oldest = Gauge(_meter, "clorad.ledger.due.oldest", unit="s")
_stuck = Gauge(_meter, "clorad.ledger.stuck", unit="{event}")
_candidates = Gauge(_meter, "clorad.ledger.candidates", unit="{version}")
_candidate_oldest = Gauge(_meter, "clorad.ledger.candidates.oldest", unit="s")
_open_turns = Gauge(_meter, "clorad.ledger.turns.open", unit="{turn}")
_pass_oldest = Gauge(_meter, "clorad.ledger.passes.oldest", unit="s")
_leases = Gauge(_meter, "clorad.ledger.leases", unit="{lease}")
_last = Gauge(_meter, "clorad.ledger.last.timestamp", unit="s")
_generation = Gauge(_meter, "clorad.ledger.generation", unit="{generation}")
_restores = Gauge(_meter, "clorad.ledger.restores", unit="{restore}")
_decisions = _meter.create_counter("clorad.gate.decisions", unit="{decision}")
_to_live = _meter.create_histogram(
    "clorad.event.to_live",
    unit="s",
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
UPDATE_SHARE_MAX = 0.05  # of the time: counting very long backlogs takes a while

STATES = ("idle", "waiting", "due", "learning", "judging")

_USUAL = (
    *((verdict, "gate") for verdict in (Verdict.CANARY, Verdict.PROMOTE, Verdict.REFUSE, Verdict.ABSTAIN)),
    (Verdict.ROLLBACK, "person"),
)


def record_ledger_metrics(
    database: Database,
    freshness: Freshness,
    over: threading.Event,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Look at the ledger now and then, and tell what is there, until it is over. Raises `LedgerRefused`."""
    start_at_zero(_decisions, *({"verdict": verdict.value, "by": by} for verdict, by in _USUAL))
    number: int | None = None
    try:
        while not over.is_set():
            began_s = clock()
            try:
                number = _look(database, freshness, number)
            except LedgerUnavailable as fault:
                log.warning("vitals not read", fault=str(fault))
                withdraw_gauges()  # what was last known may be long untrue
            over.wait(max(UPDATE_EVERY_S, (clock() - began_s) / UPDATE_SHARE_MAX))
    finally:
        withdraw_gauges()


def agent_state(backlog: Backlog, freshness: Freshness) -> str:
    """What an agent does, in one word: `waiting` is what `clorad status` gives the reason of."""
    if backlog.is_learning:
        return "learning"
    if backlog.has_candidate:
        return "judging"
    if backlog.untaught == 0:
        return "idle"
    return "due" if waiting_reason(backlog, freshness) is None else "waiting"


def withdraw_gauges() -> None:
    """Nothing is told of the ledger's state any more; what was counted stays counted."""
    for gauge in _GAUGES:
        gauge.withdraw()


def _look(database: Database, freshness: Freshness, number: int | None) -> int:
    """One look. `number`: the last decision that was counted. Returns which one it is now."""
    with database.read() as connection:
        found = ledger_health(connection)
        number, decided = decided_since(connection, newest_decision(connection) if number is None else number)
    _tell(found, freshness)
    for one in decided:
        _count(one)
    return number


def _tell(found: LedgerHealth, freshness: Freshness) -> None:
    states = Counter(agent_state(one, freshness) for one in found.backlogs)
    due = [one for one in found.backlogs if agent_state(one, freshness) == "due"]
    _agents.replace((states[state], {"state": state}) for state in STATES)
    _untaught.set(sum(one.untaught for one in found.backlogs))
    _untaught_oldest.set(_oldest_s(found.backlogs))
    _due_oldest.set(_oldest_s(due))
    _stuck.replace((count, {"status": status.value}) for status, count in found.stuck.items())
    _candidates.set(found.candidates)
    _candidate_oldest.set(found.candidate_age_s)
    _open_turns.replace([(found.turns_held, {"held": "yes"}), (found.turns_left, {"held": "no"})])
    _pass_oldest.set(found.pass_age_s)
    _leases.replace((found.leases.get(of, 0), {"of": of}) for of in ("agent", "fleet"))
    _last.replace((at_s, {"what": what}) for what, at_s in found.last_s.items())
    _generation.set(found.generation)
    _restores.set(found.restores)


def _count(decided: Decided) -> None:
    by = "gate" if decided.by == "gate" else "person"
    _decisions.add(1, {"verdict": decided.verdict.value, "by": by})
    for waited_s in decided.waited_s:
        _to_live.record(waited_s)


def _oldest_s(backlogs: Sequence[Backlog]) -> float:
    return max((one.oldest_age_s for one in backlogs), default=0.0)
