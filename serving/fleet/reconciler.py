"""Makes one replica load the adapters that the ledger wants, and reports which ones the replica holds.

Only what the replica lists counts; the reconciler does not remember its own commands. An adapter is
*verified* once the replica lists it and has passed its probes. Only verified adapters get traffic.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from engine.manifest import NewerManifest
from ledger.versions.desired import Purpose, Wanted
from ledger.versions.lineage import Version
from serving.fleet.parity import Parity, compare, request_of
from serving.fleet.replica import Continuation, Listing, Replica, ReplicaRefused, ReplicaUnavailable
from serving.fleet.version_check import VersionCheck, VersionChecker

log = structlog.get_logger(__name__)

RETRY_S = 5.0
"""Seconds until an adapter that was refused, or failed its probes, is tried again on the same replica."""

PROBES_IN_FLIGHT = 8

# The names that clorad gives: other adapters on a shared server are never unloaded.
_OWN_NAME = re.compile(r".+@v[1-9][0-9]*-[0-9a-f]{6}")
_MOST_IMPORTANT_FIRST = (Purpose.SERVE, Purpose.CANARY, Purpose.GATE, Purpose.PREDECESSOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOptions:
    """What the operator decides about every replica."""

    adapters_max: int  # loaded at once; vLLM's --max-cpu-loras
    unload_after_s: float  # longer than a request may take: no adapter is unloaded while it answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One replica after a round of its reconciler."""

    url: str
    base_name: str | None = None
    verified: frozenset[str] = frozenset()  # adapters that it lists and that passed their probes here
    parity: Mapping[str, Parity] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)  # adapter -> why it is not verified
    fault: str | None = None  # why the replica itself must get no traffic

    @property
    def is_usable(self) -> bool:
        """Whether it answers, and over the right base."""
        return self.fault is None


def versions_to_hold(wanted: Iterable[Wanted], *, url: str, usable: Sequence[str]) -> list[Version]:
    """What one replica should hold, most important first; its capacity may not suffice for the last ones.

    A candidate for the gate goes to one usable replica only, chosen by its name. Of the candidates on a
    replica, the one that has waited longest comes first.
    """
    versions: list[Version] = []
    for row in sorted(wanted, key=_importance):
        if row.version is None or row.version in versions:
            continue
        if row.purpose is not Purpose.GATE or url == judging_replica(row.version.model, usable):
            versions.append(row.version)
    return versions


def judging_replica(model: str, urls: Sequence[str]) -> str | None:
    """The replica that a candidate is judged on. When a replica comes or goes, few candidates move.

    Rendezvous hashing (Thaler and Ravishankar, 1998).
    """
    return max(urls, key=lambda url: hashlib.sha256(f"{url} {model}".encode()).digest(), default=None)


def in_rotation(reports: Sequence[Report], serving: frozenset[str]) -> frozenset[str]:
    """URLs of the replicas that may get traffic.

    A usable replica leaves while it lacks a serving adapter that another replica holds. If none would be
    left, all usable ones stay; the gateway sends a request only to a replica that holds its adapter.
    """
    usable = [report for report in reports if report.is_usable]
    verified_somewhere = serving & frozenset().union(*(report.verified for report in usable))
    complete = frozenset(report.url for report in usable if verified_somewhere <= report.verified)
    return complete or frozenset(report.url for report in usable)


class Reconciler:
    """Loads, probes and unloads adapters on one replica. Not for several threads at once."""

    def __init__(
        self,
        replica: Replica,
        checker: VersionChecker,
        options: ReplicaOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = replica.url
        self._replica = replica
        self._checker = checker
        self._options = options
        self._clock = clock
        self._parity: dict[str, Parity] = {}
        self._failed: dict[str, tuple[str, float]] = {}  # adapter -> why, and when
        self._unwanted_since_s: dict[str, float] = {}
        self._other_base: str | None = None  # set by a probe that showed another base, until a restart

    def reconcile(self, versions: Sequence[Version]) -> Report:
        """One round: load what is missing, probe what is new, unload what is no longer wanted.

        Faults of the replica do not raise; they are in the report.
        """
        try:
            return self._reconcile(versions)
        except (ReplicaUnavailable, ReplicaRefused) as fault:
            self._parity.clear()  # the replica may come back empty, or over another base
            self._other_base = None
            return Report(url=self.url, fault=str(fault)[:200])

    def _reconcile(self, versions: Sequence[Version]) -> Report:
        listing = self._replica.listing()
        if listing.base_name is None:
            return Report(url=self.url, fault="lists no base model")
        self._forget_unlisted(listing)
        self._hold(versions, listing, listing.base_name)
        self._unload_unwanted(listing, frozenset(version.model for version in versions))
        return Report(
            url=self.url,
            base_name=listing.base_name,
            verified=frozenset(model for model, parity in self._parity.items() if parity.passed),
            parity=dict(self._parity),
            failed={model: why for model, (why, _) in self._failed.items()},
            fault=self._other_base,
        )

    def _forget_unlisted(self, listing: Listing) -> None:
        """Drop the parity of adapters that are gone: after a restart every adapter is probed again."""
        for model in [model for model in self._parity if model not in listing.adapters]:
            del self._parity[model]

    def _hold(self, versions: Sequence[Version], listing: Listing, base_name: str) -> None:
        """Load and probe the versions. Afterwards each is verified, or `_failed` says why not.

        They are probed together: experiments make several versions in one pass, and each waits for its own.
        """
        loaded = [
            (version.model, check)
            for version in versions
            if (check := self._load(version, listing)) is not None
        ]
        if not loaded:
            return
        with ThreadPoolExecutor(PROBES_IN_FLIGHT, thread_name_prefix="probe") as pool:
            asked = [(model, check, self._ask(pool, model, check, base_name)) for model, check in loaded]
            for model, check, answers in asked:
                try:
                    self._accept(model, _parity(check, [answer.result() for answer in answers]))
                except ReplicaRefused as refusal:
                    self._refuse(model, refusal)

    def _load(self, version: Version, listing: Listing) -> VersionCheck | None:
        """Load the version where it is not. None: it is verified, or cannot be now."""
        model = version.model
        if model in self._parity:
            return None
        if model in self._failed and self._clock() - self._failed[model][1] < RETRY_S:
            return None
        try:
            check = self._checker.check(version)
        except OSError as fault:
            self._fail(model, f"the store is away or behind: {type(fault).__name__}")
            return None
        except NewerManifest as newer:
            self._fail(model, str(newer))
            return None
        if check.complaint is not None:
            self._fail(model, check.complaint)
            return None
        try:
            if model not in listing.adapters:
                self._replica.load(model, check.path)
        except ReplicaRefused as refusal:
            self._refuse(model, refusal)
            return None
        return check

    def _ask(
        self, pool: ThreadPoolExecutor, model: str, check: VersionCheck, base_name: str
    ) -> list[Future[Continuation]]:
        """The answers to all probes, with the adapter and then without it."""
        return [
            pool.submit(self._replica.continuation, name, *request_of(probe))
            for name in (model, base_name)
            for probe in check.probes
        ]

    def _refuse(self, model: str, refusal: ReplicaRefused) -> None:
        self._fail(model, f"{refusal.status}: {refusal.why}")
        self._replica.unload(model)

    def _accept(self, model: str, parity: Parity) -> None:
        """The adapter is verified if it passed its probes; otherwise it is unloaded."""
        if parity.passed:
            self._parity[model] = parity
            self._failed.pop(model, None)
            log.info("adapter verified", replica=self.url, model=model, difference=parity.difference_nats)
            return
        if parity.same_base:
            difference, allowed = parity.difference_nats, parity.allowed_nats
            self._fail(model, f"parity: off by {difference:.2g} nats, {allowed:.2g} allowed")
        else:
            self._other_base = f"its base is not the one {model} was trained on"[:200]
            self._fail(model, "parity: another base")
        self._replica.unload(model)

    def _fail(self, model: str, why: str) -> None:
        if self._failed.get(model, ("", 0.0))[0] != why:
            log.warning("adapter not verified", replica=self.url, model=model, why=why)
        self._failed[model] = (why[:200], self._clock())

    def _unload_unwanted(self, listing: Listing, wanted: frozenset[str]) -> None:
        """Unload what has been unwanted for longer than a request may take."""
        now_s = self._clock()
        self._failed = {model: failure for model, failure in self._failed.items() if model in wanted}
        unwanted = [model for model in listing.adapters if model not in wanted and _OWN_NAME.fullmatch(model)]
        self._unwanted_since_s = {model: self._unwanted_since_s.get(model, now_s) for model in unwanted}
        for model, since_s in self._unwanted_since_s.items():
            if now_s - since_s >= self._options.unload_after_s:
                self._replica.unload(model)
                self._parity.pop(model, None)
                log.info("adapter unloaded", replica=self.url, model=model)


def _parity(check: VersionCheck, answers: Sequence[Continuation]) -> Parity:
    """Of the answers with the adapter, and then those without it."""
    count = len(check.probes)
    return compare(check.probes, answers[:count], answers[count:])


def _importance(row: Wanted) -> tuple[int, float, str]:
    newest_first = row.purpose is not Purpose.GATE
    since_s = -row.since_s if newest_first else row.since_s
    return _MOST_IMPORTANT_FIRST.index(row.purpose), since_s, row.agent
