"""What the pages show, read through the cache: the documents of the commands, and the ledger's history."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from daemon.commands.documents.status_document import StatusDocument, read_status
from daemon.dashboard.cached_reports import ReportCache
from daemon.process import probing
from daemon.settings import Settings
from ledger.access.keys import AccessKey, keys_by_id
from ledger.database import Connection, Database
from ledger.intake import dead_letters
from ledger.reports.history.gate_accuracy import GateAccuracy, by_version, gate_accuracies
from ledger.reports.history.recent_feedback import RecentFeedback, contested_counts, recent_feedback
from ledger.versions.live_counts import KEPT_S

Report = TypeVar("Report")


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidLately:
    """By agent, what people said within `KEPT_S`, and how many events are contested; and the dead letters."""

    recent: Mapping[str, RecentFeedback]
    contested: Mapping[str, int]
    unsent: int = 0  # dead letters that were never sent again; they belong to no agent

    def of(self, agent: str) -> RecentFeedback:
        """The counts of one agent."""
        return self.recent.get(agent, RecentFeedback())


@dataclass(slots=True)
class Reports:
    """Reads reports for pages. Safe to call from any thread."""

    settings: Settings
    database: Database
    cache: ReportCache = field(default_factory=ReportCache)
    _judged: tuple[GateAccuracy, ...] = ()  # every judgement that was read so far

    def status(self) -> StatusDocument:
        """What `clorad status` says."""
        return self.cache.get("status", self._read_status)

    def curves(self) -> Mapping[str, Sequence[GateAccuracy]]:
        """By agent, the last judgement of each version. Each decision is read once: it never changes."""
        return self.cache.get("curves", self._read_curves)

    def feedback(self) -> SaidLately:
        """What people said lately."""
        return self.cache.get("feedback", self._read_feedback)

    def begin(self) -> None:
        """Read what the first page shows, in the background."""
        self.cache.begin("status", self._read_status)
        self.cache.begin("curves", self._read_curves)
        self.cache.begin("feedback", self._read_feedback)

    def keys(self) -> Mapping[str, AccessKey]:
        """The keys of clients, by id."""
        return self.cache.get("keys", lambda: self._read(keys_by_id), is_patient=True)

    def roles(self) -> Mapping[str, Any]:
        """Whether each role on this machine is ready; empty if no ports are set."""
        return self.cache.get("roles", lambda: probing.roles(self.settings))

    def read(self, name: str, read: Callable[[Connection], Report], *key: Hashable) -> Report:
        """The report `name` of that key, read in one snapshot of the ledger, or as cached."""

        return self.cache.get(name, lambda: self._read(read), *key)

    def _read(self, read: Callable[[Connection], Report]) -> Report:
        with self.database.read() as connection:
            return read(connection)

    def _read_status(self) -> StatusDocument:
        return read_status(self.settings, self.database)

    def _read_feedback(self) -> SaidLately:
        return self._read(
            lambda connection: SaidLately(
                recent=recent_feedback(connection, window_s=KEPT_S),
                contested=contested_counts(connection),
                unsent=dead_letters.unsent_count(connection),
            )
        )

    def _read_curves(self) -> Mapping[str, Sequence[GateAccuracy]]:
        known = self._judged
        with self.database.read() as connection:
            newer = gate_accuracies(connection, after_id=known[-1].decision_id if known else 0)
        self._judged = (*known, *newer)
        return by_version(self._judged)
