"""What every replica last reported, shared by the loops of the fleet role."""

import threading
from collections.abc import Iterable, Mapping, Sequence

from ledger.versions.routing import ReplicaState
from serving.fleet.parity import Parity
from serving.fleet.reconciler import Report, in_rotation


class ReplicaReports:
    """The last report of each replica. Safe to use from any thread."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._urls = tuple(urls)
        self._lock = threading.Lock()
        self._reports: dict[str, Report] = {}
        self._serving: frozenset[str] = frozenset()

    def post(self, report: Report) -> None:
        """Replace what was known of that replica."""
        with self._lock:
            self._reports[report.url] = report

    def clear(self) -> None:
        """Forget every report: somebody else may have led since."""
        with self._lock:
            self._reports.clear()

    def serve(self, models: frozenset[str]) -> None:
        """Say which adapters agents are served with: a replica without one of them must be refilled."""
        with self._lock:
            self._serving = models

    def complete(self) -> bool:
        """Whether every replica was looked at since this process began."""
        with self._lock:
            return len(self._reports) == len(self._urls)

    def reports(self) -> list[Report]:
        """In the order of the settings; replicas not looked at yet are left out."""
        with self._lock:
            return [self._reports[url] for url in self._urls if url in self._reports]

    def sound(self) -> list[str]:
        """Replicas that answer, over the right base."""
        return [report.url for report in self.reports() if report.sound]

    def rotation(self) -> list[Report]:
        """Replicas that may get traffic."""
        reports = self.reports()
        urls = in_rotation(reports, self._serving)
        return [report for report in reports if report.url in urls]

    def holders(self, model: str) -> dict[str, Parity]:
        """Replicas in rotation that hold the adapter, and how near they are to the engine."""
        return {report.url: report.parity[model] for report in self.rotation() if model in report.held}

    def failures(self, model: str) -> Mapping[str, str]:
        """Replicas in rotation that were to hold the adapter and do not, and why."""
        return {report.url: report.failed[model] for report in self.rotation() if model in report.failed}

    def observations(self) -> Sequence[ReplicaState]:
        """What gateways need to know."""
        rotation = {report.url for report in self.rotation()}
        known = {report.url: report for report in self.reports()}
        return [self._seen(url, known.get(url), in_rotation=url in rotation) for url in self._urls]

    def _seen(self, url: str, report: Report | None, *, in_rotation: bool) -> ReplicaState:
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
            models=tuple(sorted(report.held)),
            note=None if note is None else note[:200],
        )
