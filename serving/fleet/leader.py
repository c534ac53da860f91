"""Runs the fleet role: replicas load the adapters that the ledger wants, and each candidate gets a decision.

The process that has the lease leads; others stand by. The leader runs one loop for each replica, one that
records what the replicas hold, one that judges, and one that promotes. Gateways read the result from the
ledger.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import structlog
from opentelemetry import metrics

from feedback.gauge import Gauge
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.heartbeat import Leased, hold_leases
from ledger.versions.desired import Purpose, Wanted, wanted
from ledger.versions.routing import record_replicas
from serving.fleet.answers import Interrupted
from serving.fleet.judging import Judging, JudgingOptions, SuiteOf, judge_candidates, promote_candidates
from serving.fleet.reconciler import Reconciler, ReplicaOptions, versions_to_hold
from serving.fleet.replica import Replica, ReplicaRefused, ReplicaUnavailable
from serving.fleet.replica_reports import ReplicaReports
from serving.fleet.version_check import VersionChecker
from serving.health_report import HealthReport
from serving.scoring.registry import ScorerRegistry

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("serving")
_rotation = Gauge(
    _meter, "clorad.fleet.replicas.in_rotation", unit="{replica}", description="replicas that may get traffic"
)
_configured = Gauge(
    _meter, "clorad.fleet.replicas.configured", unit="{replica}", description="replicas in the settings"
)
_missing = Gauge(
    _meter,
    "clorad.fleet.adapters.missing",
    unit="{adapter}",
    description="adapters that a replica should hold and does not",
)

LEASE = "fleet"
STAND_BY_S = 1.0
"""Seconds between two attempts to take the lease while another process leads."""

REPORT_S_MAX = 5.0
"""Seconds after which unchanged reports are written again: a quiet leader must not look like a dead one."""

_RETRY_S = 1.0  # pause after the ledger or a replica was away

Loop = Callable[[threading.Event], None]
"""Runs until the event is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """What the operator decides about the fleet."""

    store: Path  # where the adapter versions are, for this process and for every replica
    base_hash: str  # of the base model that agents learn on
    holder: str  # of the lease; unique per process
    replica: ReplicaOptions
    judging: JudgingOptions
    tick_s: float = 0.3  # between two rounds of a loop
    lease_s: float = 5.0  # without a sign of life, after which another process leads


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything the loops work with."""

    database: Database
    replicas: Mapping[str, Replica]  # by URL
    reports: ReplicaReports
    checker: VersionChecker
    judging: Judging
    options: FleetOptions
    health: HealthReport


def build_fleet(
    database: Database,
    urls: tuple[str, ...],
    options: FleetOptions,
    *,
    suite: SuiteOf,
    whole_suite: SuiteOf | None = None,
    redact: Callable[[str], str],
    health: HealthReport,
    api_keys: Mapping[str, str] = MappingProxyType({}),
    scorers: ScorerRegistry | None = None,
    failpoint: Callable[[str], None] = lambda _: None,
) -> Fleet:
    """A fleet of these replicas, with their keys by URL (without a slash at its end).

    `whole_suite` gives the no-harm suite without a limit, if `suite` has one.
    `failpoint("fleet-swapping")` is called right before a promotion.
    """
    clients = (Replica(url, api_key=api_keys.get(url.rstrip("/"))) for url in urls)
    replicas = {replica.url: replica for replica in clients}
    reports, checker = ReplicaReports(replicas), VersionChecker(options.store, options.base_hash)
    judging = Judging(
        database=database,
        reports=reports,
        checker=checker,
        replicas=replicas,
        suite=suite,
        whole_suite=whole_suite or suite,
        redact=redact,
        options=options.judging,
        scorers=scorers or ScorerRegistry(wait_s_max=options.judging.scoring.wait_s_max),
        failpoint=failpoint,
    )
    return Fleet(
        database=database,
        replicas=replicas,
        reports=reports,
        checker=checker,
        judging=judging,
        options=options,
        health=health,
    )


def run_fleet(
    fleet: Fleet, stopping: threading.Event, *, leader_loops: Mapping[str, Loop] | None = None
) -> None:
    """Lead whenever the lease is free, until `stopping` is set. Only the leader runs `leader_loops`."""
    try:
        while not stopping.is_set():
            fleet.health.alive("fleet")
            try:
                with hold_leases(
                    fleet.database, [LEASE], holder=fleet.options.holder, ttl_s=fleet.options.lease_s
                ) as leased:
                    if leased.tokens:
                        lead(fleet, leased, stopping, leader_loops or {})
                        continue
                for check in ("ledger", "replicas"):  # these concern the leader only
                    fleet.health.ready(check, True, "standing by")
            except LedgerUnavailable as fault:
                log.warning("ledger away", fault=str(fault))
                fleet.health.ready("ledger", False, str(fault))
            stopping.wait(STAND_BY_S)
    finally:
        for replica in fleet.replicas.values():
            replica.close()


def lead(fleet: Fleet, leased: Leased, stopping: threading.Event, leader_loops: Mapping[str, Loop]) -> None:
    """Run every loop in its own thread while the lease is held. A loop that raises ends them all."""
    fleet.reports.clear()
    _configured.set(len(fleet.replicas))
    reconcilers = [
        Reconciler(replica, fleet.checker, fleet.options.replica) for replica in fleet.replicas.values()
    ]
    loops: list[Loop] = [
        *(
            lambda ending, reconciler=reconciler: run_replica_loop(fleet, reconciler, ending)
            for reconciler in reconcilers
        ),
        lambda ending: run_report_loop(fleet, ending),
        lambda ending: run_judging_loop(fleet, judge_candidates, ending),
        lambda ending: run_judging_loop(fleet, promote_candidates, ending),
        *leader_loops.values(),
    ]
    log.info("leading the fleet", replicas=sorted(fleet.replicas), token=leased.tokens[LEASE])
    ending = threading.Event()
    with ThreadPoolExecutor(len(loops), thread_name_prefix="fleet") as pool:
        running = [pool.submit(loop, ending) for loop in loops]
        ended = set[object]()
        while not (stopping.is_set() or leased.lost.is_set() or ended):
            fleet.health.alive("fleet")
            ended = set(wait(running, timeout=0.1, return_when=FIRST_COMPLETED).done)
        ending.set()
        fleet.reports.tell()
    for gauge in (_rotation, _configured, _missing):  # the next leader exports them
        gauge.withdraw()
    for future in running:
        future.result()
    log.info("leading no longer", lease_lost=leased.lost.is_set())


def run_replica_loop(fleet: Fleet, reconciler: Reconciler, ending: threading.Event) -> None:
    """Make one replica hold what the ledger wants, round after round, until `ending` is set."""
    rows: list[Wanted] = []
    left_out: list[str] = []
    change = 0
    while not ending.is_set():
        try:
            with fleet.database.read() as connection:
                rows = wanted(connection)
        except LedgerUnavailable:
            if not rows:  # nothing is known yet: every adapter on the replica would look unwanted
                ending.wait(_RETRY_S)
                continue
        fleet.reports.set_serving(
            frozenset(row.version.model for row in rows if row.purpose is Purpose.SERVE and row.version)
        )
        versions = versions_to_hold(rows, url=reconciler.url, usable=fleet.reports.usable())
        capacity = fleet.options.replica.adapters_max
        left_out_before, left_out = left_out, [version.model for version in versions[capacity:]]
        if left_out and left_out != left_out_before:
            log.warning(
                "no room on the replica: fleet.adapters_max", replica=reconciler.url, left_out=left_out
            )
        report = reconciler.reconcile(versions[:capacity])
        fleet.reports.add(report)
        missing = sum(version.model not in report.verified for version in versions)
        _missing.set(missing, {"replica": urlsplit(reconciler.url).netloc.rpartition("@")[2]})
        change = fleet.reports.wait(change, fleet.options.tick_s)


def run_report_loop(fleet: Fleet, ending: threading.Event) -> None:
    """Record for the gateways what the replicas hold, at each change and every `REPORT_S_MAX` seconds."""
    written: object = None
    written_s, change = 0.0, 0
    while not ending.is_set():
        # A leader that has no report about a replica yet must not take that replica out of rotation.
        if fleet.reports.is_complete():
            states = fleet.reports.states()
            if states != written or time.monotonic() - written_s > REPORT_S_MAX:
                try:
                    record_replicas(fleet.database, states)
                    written, written_s = states, time.monotonic()
                    fleet.health.ready("ledger", True)
                except LedgerUnavailable as fault:
                    fleet.health.ready("ledger", False, str(fault))
            in_rotation = sum(state.in_rotation for state in states)
            _rotation.set(in_rotation)
            fleet.health.ready("replicas", in_rotation > 0, f"{in_rotation} of {len(states)} in rotation")
        change = fleet.reports.wait(change, min(0.1, fleet.options.tick_s))


def run_judging_loop(
    fleet: Fleet, take_steps: Callable[[Judging, threading.Event], bool], ending: threading.Event
) -> None:
    """Judge candidates until `ending` is set, or promote those that passed, as `take_steps` does."""
    change = 0
    while not ending.is_set():
        pause_s = min(0.2, fleet.options.tick_s)
        try:
            if take_steps(fleet.judging, ending):
                fleet.reports.tell()
        except (ReplicaUnavailable, ReplicaRefused, LedgerUnavailable) as fault:
            log.warning("judging broke off, it begins again", fault=str(fault)[:200])
            pause_s = _RETRY_S
        except Interrupted:
            return
        change = fleet.reports.wait(change, pause_s)
