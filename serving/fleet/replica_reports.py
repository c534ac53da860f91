"""Keeps the last report about each replica for the loops of the fleet role, and wakes them at a change."""

import threading
from collections.abc import Iterable, Mapping, Sequence

from ledger.versions.routing import ReplicaState
from serving.fleet.parity import Parity
from serving.fleet.reconciler import Report, in_rotation


class ReplicaReports:
    """The last report about each replica. Safe to use from any thread.

    A loop that changes what another one waits for calls `tell`: a version then serves half a second sooner
    than with loops that only look from time to time.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self._urls = tuple(urls)
        self._lock = threading.Lock()
        self._reports: dict[str, Report] = {}
        self._serving: frozenset[str] = frozenset()
        self._news = threading.Condition()
        self._changes = 0

    def add(self, report: Report) -> None:
        """Replace the earlier report about that replica."""
        with self._lock:
            is_news = self._reports.get(report.url) != report
            self._reports[report.url] = report
        if is_news:
            self.tell()

    def tell(self) -> None:
        """Wake the loops that wait for a change."""
        with self._news:
            self._changes += 1
            self._news.notify_all()

    def wait(self, change: int, wait_s: float) -> int:
        """Wait for another change than that number, so long at most. Returns the number of the last one."""
        with self._news:
            self._news.wait_for(lambda: self._changes != change, wait_s)
            return self._changes

    def clear(self) -> None:
        """Drop every report: another process may have led since they were made."""
        with self._lock:
            self._reports.clear()

    def set_serving(self, models: frozenset[str]) -> None:
        """Set the adapters that answer users: a replica without one of them leaves the rotation."""
        with self._lock:
            self._serving = models

    def is_complete(self) -> bool:
        """Whether there is a report about every replica."""
        with self._lock:
            return len(self._reports) == len(self._urls)

    def reports(self) -> list[Report]:
        """The reports, in the order of the settings."""
        with self._lock:
            return [self._reports[url] for url in self._urls if url in self._reports]

    def usable(self) -> list[str]:
        """URLs of the replicas that answer, over the right base."""
        return [report.url for report in self.reports() if report.is_usable]

    def rotation(self) -> list[Report]:
        """Reports about the replicas that may get traffic."""
        reports = self.reports()
        urls = in_rotation(reports, self._serving)
        return [report for report in reports if report.url in urls]

    def holders(self, model: str) -> dict[str, Parity]:
        """Replicas in rotation that hold the adapter, and the parity of each."""
        return {report.url: report.parity[model] for report in self.rotation() if model in report.verified}

    def failures(self, model: str) -> Mapping[str, str]:
        """Replicas in rotation that were to hold the adapter and do not, and why."""
        return {report.url: report.failed[model] for report in self.rotation() if model in report.failed}

    def states(self) -> Sequence[ReplicaState]:
        """What gateways need to know about every replica."""
        rotation = {report.url for report in self.rotation()}
        by_url = {report.url: report for report in self.reports()}
        return [self._state(url, by_url.get(url), in_rotation=url in rotation) for url in self._urls]

    def _state(self, url: str, report: Report | None, *, in_rotation: bool) -> ReplicaState:
        if report is None:
            return ReplicaState(
                url=url, in_rotation=False, base_name=None, models=(), note="not looked at yet"
            )
        missing = sorted(self._serving & set(report.failed))
        note = report.fault or (f"{missing[0]}: {report.failed[missing[0]]}" if missing else None)
        return ReplicaState(
            url=url,
            in_rotation=in_rotation,
            base_name=report.base_name,
            models=tuple(sorted(report.verified)),
            note=None if note is None else note[:200],
        )
