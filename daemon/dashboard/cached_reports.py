"""Caches what pages read from the ledger, so that many viewers cost the ledger no more than one.

A report that took long to read is kept longer: the reads of one report take at most a fifth of the time, up
to `LIFETIME_S_MAX`. An older report is shown while a thread reads the next one. Where there is none, a caller
waits for a moment and is told that it is still being read.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from opentelemetry import metrics

_meter = metrics.get_meter("daemon")
_read_s = _meter.create_histogram(
    "clorad.dashboard.read.duration",
    unit="s",
    description="seconds that the dashboard needed to read one report from the ledger, by report",
)

FRESH_S = 2.0
"""Seconds for which a report is shown without reading it again."""

COST_SHARE_MAX = 0.2
"""Share of the time that the reads of one report may take, while its lifetime is below the greatest."""

LIFETIME_S_MAX = 15.0
"""Seconds for which a report is shown without reading it again, however long that takes."""

FIRST_WAIT_S_MAX = 0.3
"""Seconds that a page waits for a report that nobody has read yet. A page has three of them at most."""

STALE_S_MAX = 60.0
"""Seconds after which a report is no longer shown while the next one is read, beside its own lifetime."""

REPORTS_MAX = 256
"""Reports that are kept, of all pages; the one that was not asked for longest goes first."""

READS_MAX = 4
"""Reports that are read at once."""

Report = TypeVar("Report")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedReport(Generic[Report]):
    """One report as it was read."""

    report: Report
    read_s: float  # by the cache's clock, when reading began
    cost_s: float

    @property
    def lifetime_s(self) -> float:
        """Seconds for which nothing newer is read."""
        return min(LIFETIME_S_MAX, max(FRESH_S, self.cost_s / COST_SHARE_MAX))


class StillReading(Exception):
    """A report is being read for the first time. Whoever asks again gets it then."""


class ReportCache:
    """Reports by key. Safe to call from any thread; `close` ends the reads in the background.

    Callers wait at most `first_wait_s` seconds for a report that nobody has read; None: as long as it takes.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, first_wait_s: float | None = None
    ) -> None:
        self._clock, self._first_wait_s = clock, first_wait_s
        self._lock = threading.Lock()
        self._cached: OrderedDict[Hashable, CachedReport[Any]] = OrderedDict()
        self._reading: dict[Hashable, Future[CachedReport[Any]]] = {}
        self._pool = ThreadPoolExecutor(READS_MAX, thread_name_prefix="report")

    def get(self, name: str, read: Callable[[], Report], *key: Hashable, is_patient: bool = False) -> Report:
        """The report `name` of that key: as cached, or as `read` returns it.

        Callers that ask for one report at once wait for one read; one that `is_patient` until it is over.
        Raises what `read` raises, and `StillReading`.
        """
        newest = self._newest(name, read, (name, *key))
        if isinstance(newest, CachedReport):
            return newest.report
        try:
            return newest.result(None if is_patient else self._first_wait_s).report
        except FutureTimeout:
            raise StillReading(name) from None

    def begin(self, name: str, read: Callable[[], Report], *key: Hashable) -> None:
        """Read the report in the background, unless it is known or being read."""
        self._newest(name, read, (name, *key))

    def _newest(
        self, name: str, read: Callable[[], Report], place: tuple[Hashable, ...]
    ) -> CachedReport[Report] | Future[CachedReport[Report]]:
        """The report that may be shown, else the read of it, which has begun."""
        with self._lock:
            cached: CachedReport[Report] | None = self._cached.get(place)
            late_s = 0.0 if cached is None else self._clock() - cached.read_s - cached.lifetime_s
            if cached is not None:
                self._cached.move_to_end(place)
                if late_s < 0:
                    return cached
            reading: Future[CachedReport[Report]] | None = self._reading.get(place)
            if reading is None:
                reading = self._pool.submit(self._read, name, read, place)
                self._reading[place] = reading
        return cached if cached is not None and late_s < STALE_S_MAX else reading

    def forget(self) -> None:
        """Read everything anew: somebody has just changed the ledger."""
        with self._lock:
            self._cached.clear()
            self._reading.clear()

    def close(self) -> None:
        """Wait for reads that run; none begins any more."""
        self._pool.shutdown(cancel_futures=True)

    def _read(self, name: str, read: Callable[[], Report], place: Hashable) -> CachedReport[Report]:
        began_s = self._clock()
        with self._lock:
            reading = self._reading.get(place)
        try:
            report = read()
            cached = CachedReport(report=report, read_s=began_s, cost_s=self._clock() - began_s)
            _read_s.record(cached.cost_s, {"report": name})
            with self._lock:
                if self._reading.get(place) is reading:  # else somebody changed the ledger meanwhile
                    self._cached[place] = cached
                    while len(self._cached) > REPORTS_MAX:
                        self._cached.popitem(last=False)
            return cached
        finally:
            with self._lock:
                if self._reading.get(place) is reading:
                    del self._reading[place]
