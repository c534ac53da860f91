"""The fleet role: what the ledger wants, the fleet gets; candidates without a verdict get one.

One process leads, by lease; others stand by. While it leads, each replica has a loop that looks after it,
one loop writes down what was seen, one judges and swaps. Gateways meet them in the ledger only.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from opentelemetry import metrics

from feedback.gauge import Gauge
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.heartbeat import Leased, held
from ledger.versions import routing as table
from ledger.versions.desired import Purpose, Wanted, wanted
from serving.fleet.evidence import Interrupted
from serving.fleet.judging import Judging, JudgingOptions, SuiteOf, judge_candidates
from serving.fleet.reconciler import Reconciler, ReplicaOptions, hold_list
from serving.fleet.replica import Replica, ReplicaRefused, ReplicaUnavailable
from serving.fleet.replica_reports import ReplicaReports
from serving.fleet.version_check import VersionChecker
from serving.health_report import HealthReport

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("serving")
_rotation = Gauge(_meter, "clorad.fleet.replicas.in_rotation", unit="{replica}")
_configured = Gauge(_meter, "clorad.fleet.replicas.configured", unit="{replica}")
_missing = Gauge(_meter, "clorad.fleet.adapters.missing", unit="{adapter}")

LEASE = "fleet"
STAND_BY_S = 1.0
"""Between looks at the lease while somebody else leads."""

SEEN_AGAIN_S = 5.0
"""What was seen is written at least so often, that people can tell a quiet fleet role from a dead one."""

_AWAY_S = 1.0  # pause after the ledger or a replica was away


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """What the operator decides about the fleet."""

    store: Path  # where the adapter versions are, for us and for every replica
    base_hash: str  # of the base model that agents learn on
    holder: str  # unique per process
    tick_s: float = 0.3  # between looks at every replica
    lease_s: float = 5.0  # without a sign of life, after which a stand-by leads
    replica: ReplicaOptions = field(default_factory=ReplicaOptions)
    judging: JudgingOptions = field(default_factory=JudgingOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything the loops work with."""

    database: Database
    replicas: Mapping[str, Replica]  # by URL
    board: ReplicaReports
    shelf: VersionChecker
    judging: Judging
    options: FleetOptions
    health: HealthReport


def fleet_of(
    database: Database,
    urls: tuple[str, ...],
    options: FleetOptions,
    *,
    suite: SuiteOf,
    redact: Callable[[str], str],
    health: HealthReport,
    reached: Callable[[str], None] = lambda _: None,
) -> Fleet:
    """A fleet over these replicas. `reached` is told "fleet-swapping" right before an agent is flipped."""
    replicas = {replica.url: replica for replica in map(Replica, urls)}
    board, shelf = ReplicaReports(replicas), VersionChecker(options.store, options.base_hash)
    judging = Judging(
        database=database,
        board=board,
        shelf=shelf,
        replicas=replicas,
        suite=suite,
        redact=redact,
        options=options.judging,
        reached=reached,
    )
    return Fleet(
        database=database,
        replicas=replicas,
        board=board,
        shelf=shelf,
        judging=judging,
        options=options,
        health=health,
    )


def run_fleet(
    fleet: Fleet,
    stopping: threading.Event,
    *,
    also: Mapping[str, Callable[[threading.Event], None]] | None = None,
) -> None:
    """Lead whenever the lease can be had, until told to stop. `also`: loops that only the leader runs."""
    try:
        while not stopping.is_set():
            fleet.health.alive("fleet")
            try:
                with held(
                    fleet.database, [LEASE], holder=fleet.options.holder, ttl_s=fleet.options.lease_s
                ) as leased:
                    if leased.tokens:
                        lead(fleet, leased, stopping, also or {})
                        continue
                for check in ("ledger", "replicas"):  # the leader's concern, until it is us
                    fleet.health.ready(check, True, "standing by")
            except LedgerUnavailable as fault:
                log.warning("ledger away", fault=str(fault))
                fleet.health.ready("ledger", False, str(fault))
            stopping.wait(STAND_BY_S)
    finally:
        for replica in fleet.replicas.values():
            replica.close()


def lead(
    fleet: Fleet,
    leased: Leased,
    stopping: threading.Event,
    also: Mapping[str, Callable[[threading.Event], None]],
) -> None:
    """Run every loop in its own thread while the lease is held. A loop that raises ends them all."""
    over = threading.Event()
    fleet.board.clear()
    _configured.set(len(fleet.replicas))
    loops: list[Callable[[], None]] = [
        lambda keeper=keeper: tend(fleet, keeper, over)  # type: ignore[misc]
        for keeper in _keepers(fleet)
    ]
    loops += [lambda: observe(fleet, over), lambda: decide(fleet, over)]
    loops += [lambda run=run: run(over) for run in also.values()]  # type: ignore[misc]
    log.info("leading the fleet", replicas=sorted(fleet.replicas), token=leased.tokens[LEASE])
    with ThreadPoolExecutor(len(loops), thread_name_prefix="fleet") as pool:
        running = [pool.submit(loop) for loop in loops]
        ended = set[object]()
        while not (stopping.is_set() or leased.lost.is_set() or ended):
            fleet.health.alive("fleet")
            ended = set(wait(running, timeout=0.1, return_when=FIRST_COMPLETED).done)
        over.set()
    for gauge in (_rotation, _configured, _missing):  # from now on somebody else knows
        gauge.withdraw()
    for loop in running:
        loop.result()
    log.info("leading no longer", lease_lost=leased.lost.is_set())


def tend(fleet: Fleet, keeper: Reconciler, over: threading.Event) -> None:
    """Keep one replica as the ledger wants it."""
    rows: list[Wanted] = []
    left_out: list[str] = []
    while not over.is_set():
        try:
            with fleet.database.read() as connection:
                rows = wanted(connection)
        except LedgerUnavailable:
            if not rows:  # nothing is known yet: everything the replica holds would look unwanted
                over.wait(_AWAY_S)
                continue
        fleet.board.serve(
            frozenset(row.version.model for row in rows if row.purpose is Purpose.SERVE and row.version)
        )
        hold = hold_list(rows, url=keeper.url, sound=fleet.board.sound())
        room = fleet.options.replica.adapters_max
        before, left_out = left_out, [version.model for version in hold[room:]]
        if left_out and left_out != before:
            log.warning("no room on the replica: fleet.adapters_max", replica=keeper.url, left_out=left_out)
        report = keeper.tend(hold[:room])
        fleet.board.post(report)
        missing = sum(version.model not in report.held for version in hold)
        _missing.set(missing, {"replica": urlsplit(keeper.url).netloc.rpartition("@")[2]})
        over.wait(fleet.options.tick_s)


def observe(fleet: Fleet, over: threading.Event) -> None:
    """Write what was seen for the gateways, when it changed and from time to time."""
    written: object = None
    written_s = 0.0
    while not over.is_set():
        # A leader that has not looked at every replica yet must not take the others out of rotation.
        if fleet.board.complete():
            seen = fleet.board.observations()
            if seen != written or time.monotonic() - written_s > SEEN_AGAIN_S:
                try:
                    table.record_replicas(fleet.database, seen)
                    written, written_s = seen, time.monotonic()
                    fleet.health.ready("ledger", True)
                except LedgerUnavailable as fault:
                    fleet.health.ready("ledger", False, str(fault))
            usable = sum(one.in_rotation for one in seen)
            _rotation.set(usable)
            fleet.health.ready("replicas", usable > 0, f"{usable} of {len(seen)} in rotation")
        over.wait(min(0.1, fleet.options.tick_s))


def decide(fleet: Fleet, over: threading.Event) -> None:
    """Bring candidates to a verdict and promoted ones to the users."""
    while not over.is_set():
        pause_s = min(0.2, fleet.options.tick_s)
        try:
            if judge_candidates(fleet.judging, over):
                pause_s = 0.0
        except (ReplicaUnavailable, ReplicaRefused, LedgerUnavailable) as fault:
            log.warning("judging broke off, it begins again", fault=str(fault)[:200])
            pause_s = _AWAY_S
        except Interrupted:
            return
        over.wait(pause_s)


def _keepers(fleet: Fleet) -> list[Reconciler]:
    return [Reconciler(replica, fleet.shelf, fleet.options.replica) for replica in fleet.replicas.values()]
