"""Making one replica hold what the ledger wants, and saying what it really holds.

What a replica lists now is the only truth: nothing is remembered of what it was told. An adapter counts
as held when it is listed and answered its parity probe; only held adapters get traffic.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from engine.manifest import NewerManifest
from ledger.versions.desired import Purpose, Wanted
from ledger.versions.lineage import Version
from serving.fleet.parity import Parity, asked_of, compare
from serving.fleet.replica import Listing, Replica, ReplicaRefused, ReplicaUnavailable
from serving.fleet.version_check import VersionCheck, VersionChecker

log = structlog.get_logger(__name__)

RETRY_S = 5.0
"""Seconds until an adapter that was refused, or failed its probe, is tried again on the same replica."""

PROBES_IN_FLIGHT = 8

_OURS = re.compile(r".+@v[1-9][0-9]*-[0-9a-f]{6}")  # others' adapters on a shared server are theirs to unload
_IMPORTANCE = (Purpose.SERVE, Purpose.CANARY, Purpose.GATE, Purpose.PREDECESSOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOptions:
    """What the operator decides about every replica."""

    base_name: str | None = None  # the name it must serve the base under; None: whatever it says
    adapters_max: int = 32  # loaded at once; vLLM's --max-cpu-loras
    unload_after_s: float = 65.0  # longer than a request may take: nothing is taken from under an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One replica after a look at it."""

    url: str
    base_name: str | None = None
    held: frozenset[str] = frozenset()  # adapters it lists and that passed their probe here
    parity: Mapping[str, Parity] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)  # adapter -> why it is not held
    fault: str | None = None  # why the replica itself must get no traffic

    @property
    def sound(self) -> bool:
        """Whether it answers, and over the right base."""
        return self.fault is None


def hold_list(wanted: Iterable[Wanted], *, url: str, sound: Sequence[str]) -> list[Version]:
    """What one replica should hold, most important first; it may have no room for the last ones.

    Candidates for the gate go to one replica only: the one their name chooses among the sound ones. Who
    waits longest there is judged first.
    """
    chosen: list[Version] = []
    for row in sorted(wanted, key=_order):
        if row.version is None or row.version in chosen:
            continue
        if row.purpose is not Purpose.GATE or url == gate_home(row.version.model, sound):
            chosen.append(row.version)
    return chosen


def gate_home(model: str, urls: Sequence[str]) -> str | None:
    """The replica a candidate is judged on; others move as little as possible when one comes or goes."""
    return max(urls, key=lambda url: hashlib.sha256(f"{url} {model}".encode()).digest(), default=None)


def in_rotation(reports: Sequence[Report], serving: frozenset[str]) -> frozenset[str]:
    """URLs of the replicas that may get traffic.

    A sound replica leaves when it lacks a serving adapter that another one holds: it is refilled first.
    Where that would leave nobody, all sound ones stay; requests still go only where their model is held.
    """
    sound = [report for report in reports if report.sound]
    held_somewhere = serving & frozenset().union(*(report.held for report in sound))
    full = frozenset(report.url for report in sound if held_somewhere <= report.held)
    return full or frozenset(report.url for report in sound)


class Reconciler:
    """Looks after one replica. Not for several threads at once."""

    def __init__(
        self,
        replica: Replica,
        shelf: VersionChecker,
        options: ReplicaOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = replica.url
        self._replica = replica
        self._shelf = shelf
        self._options = options
        self._clock = clock
        self._parity: dict[str, Parity] = {}
        self._failed: dict[str, tuple[str, float]] = {}  # adapter -> why, and when
        self._unwanted_s: dict[str, float] = {}  # adapter -> since when nobody wants it
        self._foreign: str | None = None  # the base is another one: found by a probe, until it restarts

    def tend(self, hold: Sequence[Version]) -> Report:
        """One look: load what is missing, probe what is new, unload what nobody wants. Never raises for the
        world's faults; they are in the report."""
        try:
            return self._tend(hold)
        except (ReplicaUnavailable, ReplicaRefused) as fault:
            self._parity.clear()  # it may come back empty, or over another base
            self._foreign = None
            return Report(url=self.url, fault=str(fault)[:200])

    def _tend(self, hold: Sequence[Version]) -> Report:
        listing = self._replica.listing()
        expected = self._options.base_name
        if listing.base_name is None or expected not in (None, listing.base_name):
            return Report(url=self.url, fault=f"serves {listing.base_name}, not {expected}"[:200])
        self._forget(listing)
        for version in hold:
            self._fill(version, listing)
        self._clear(listing, frozenset(version.model for version in hold))
        return Report(
            url=self.url,
            base_name=listing.base_name,
            held=frozenset(model for model, parity in self._parity.items() if parity.passed),
            parity=dict(self._parity),
            failed={model: why for model, (why, _) in self._failed.items()},
            fault=self._foreign,
        )

    def _forget(self, listing: Listing) -> None:
        """Drop what was known of adapters that are gone: after a restart everything is probed again."""
        for model in [model for model in self._parity if model not in listing.adapters]:
            del self._parity[model]

    def _fill(self, version: Version, listing: Listing) -> None:
        """The replica holds the version, or `_failed` says why not."""
        model = version.model
        if model in self._parity:
            return
        if model in self._failed and self._clock() - self._failed[model][1] < RETRY_S:
            return
        try:
            fitness = self._shelf.fitness(version)
        except OSError as fault:
            self._fail(model, f"the store is away or behind: {type(fault).__name__}")
            return
        except NewerManifest as newer:
            self._fail(model, str(newer))
            return
        if fitness.complaint is not None:
            self._fail(model, fitness.complaint)
            return
        try:
            if model not in listing.adapters:
                self._replica.load(model, fitness.path)
            self._judge(model, self._probe(model, fitness, listing))
        except ReplicaRefused as refusal:
            self._fail(model, f"{refusal.status}: {refusal.why}")
            self._replica.unload(model)

    def _probe(self, model: str, fitness: VersionCheck, listing: Listing) -> Parity:
        base = listing.base_name
        assert base is not None
        asked = [asked_of(probe) for probe in fitness.probes]
        with ThreadPoolExecutor(PROBES_IN_FLIGHT, thread_name_prefix="probe") as pool:
            served = pool.map(lambda one: self._replica.continuation(model, *one), asked)
            bare = pool.map(lambda one: self._replica.continuation(base, *one), asked)
            return compare(fitness.probes, list(served), list(bare))

    def _judge(self, model: str, parity: Parity) -> None:
        if parity.passed:
            self._parity[model] = parity
            self._failed.pop(model, None)
            log.info("adapter held", replica=self.url, model=model, difference=parity.difference_nats)
            return
        if parity.same_base:
            off, allowed = parity.difference_nats, parity.allowed_nats
            self._fail(model, f"parity: off by {off:.2g} nats, {allowed:.2g} allowed")
        else:
            self._foreign = f"its base is not the one {model} was trained on"[:200]
            self._fail(model, "parity: another base")
        self._replica.unload(model)

    def _fail(self, model: str, why: str) -> None:
        if self._failed.get(model, ("", 0.0))[0] != why:
            log.warning("adapter not held", replica=self.url, model=model, why=why)
        self._failed[model] = (why[:200], self._clock())

    def _clear(self, listing: Listing, hold: frozenset[str]) -> None:
        """Unload what nobody has wanted for longer than a request may take."""
        now = self._clock()
        self._failed = {model: found for model, found in self._failed.items() if model in hold}
        unwanted = [model for model in listing.adapters if model not in hold and _OURS.fullmatch(model)]
        self._unwanted_s = {model: self._unwanted_s.get(model, now) for model in unwanted}
        for model, since_s in self._unwanted_s.items():
            if now - since_s >= self._options.unload_after_s:
                self._replica.unload(model)
                self._parity.pop(model, None)
                log.info("adapter unloaded", replica=self.url, model=model)


def _order(row: Wanted) -> tuple[int, float, str]:
    newest_first = row.purpose is not Purpose.GATE
    return _IMPORTANCE.index(row.purpose), -row.since_s if newest_first else row.since_s, row.agent
