"""Whether there is room to take in more: what waits (rows, bytes) and free disk, against two marks each.

Intake stops reading at the high mark and goes on below the low one, so that it does not stop and go at
every event; Kafka keeps the events meanwhile. What is owed to Kafka waits too.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from daemon.settings import Settings
from ledger.database import Database
from ledger.reports import load

CHECK_EVERY_S = 5.0
CHECK_SHARE_MAX = 0.05  # of the time: counting a very long backlog takes a while
LOW_SHARE = 0.8  # of a high mark

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HighMarks:
    """High marks; the low ones follow. A mark of 0 MiB of free disk means: not looked at."""

    rows_max: int
    mib_max: int
    free_mib_min: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """One thing that may run out of room. `used` grows towards `high`; below `low` there is room again."""

    name: str
    used: int
    low: int
    high: int
    told: str

    @property
    def is_over(self) -> bool:
        """At the high mark."""
        return self.used >= self.high

    @property
    def is_under(self) -> bool:
        """Below the low mark."""
        return self.used < self.low


class Capacity:
    """Called often, looks rarely. Says why there is no room, or nothing."""

    def __init__(
        self,
        database: Database,
        paths: Sequence[Path],
        marks: HighMarks,
        *,
        clock: Callable[[], float] = time.monotonic,
        disk_usage: Callable[[Path], Any] = shutil.disk_usage,
    ) -> None:
        self._database, self._paths, self._marks = database, paths, marks
        self._clock, self._disk_usage = clock, disk_usage
        self._look_s = float("-inf")
        self._full: dict[str, str] = {}

    def __call__(self) -> str:
        """Why nothing more may be taken in; empty where there is room. Raises `LedgerUnavailable`."""
        began_s = self._clock()
        if began_s >= self._look_s:
            for one in self.measures():
                if one.is_over or (one.name in self._full and not one.is_under):
                    self._full[one.name] = one.told
                else:
                    self._full.pop(one.name, None)
            took_s = self._clock() - began_s
            self._look_s = began_s + max(CHECK_EVERY_S, took_s / CHECK_SHARE_MAX)
        return "; ".join(self._full.values())

    def no_disk(self) -> str:
        """Why nothing large may be written now; empty where every disk is below its high mark."""
        return "; ".join(one.told for one in self._disks() if one.is_over)

    def measures(self) -> list[ResourceUse]:
        """Everything as of now."""
        return [*self._disks(), *self._backlog()]

    def _disks(self) -> list[ResourceUse]:
        free_min = self._marks.free_mib_min
        if free_min == 0:
            return []
        found = {}
        for path in map(_existing, self._paths):
            disk = self._disk_usage(path)
            free_mib, size_mib = disk.free // _MIB, disk.total // _MIB
            found[path.stat().st_dev] = ResourceUse(
                name=f"disk of {path.name or path}",
                used=size_mib - free_mib,
                low=size_mib - int(free_min / LOW_SHARE),
                high=size_mib - free_min + 1,
                told=f"{free_mib:,} MiB of disk free, {free_min:,} needed",
            )
        return list(found.values())

    def _backlog(self) -> list[ResourceUse]:
        rows_max, bytes_max = self._marks.rows_max, self._marks.mib_max * _MIB
        rows_low, bytes_low = int(rows_max * LOW_SHARE), int(bytes_max * LOW_SHARE)
        with self._database.read() as connection:
            waiting = load.waiting(connection, rows_few=rows_low, bytes_few=bytes_low)
        many = f"{waiting.events:,} events wait to be learned, {waiting.messages:,} messages for Kafka"
        return [
            ResourceUse(
                name="rows",
                used=waiting.events + waiting.messages,
                low=rows_low,
                high=rows_max,
                told=many,
            ),
            ResourceUse(
                name="bytes",
                used=waiting.size_bytes,
                low=bytes_low,
                high=bytes_max,
                told=f"{waiting.size_bytes // _MIB:,} MiB wait: {many}",
            ),
        ]


def build_capacity(settings: Settings, database: Database) -> Capacity:
    """The room this installation has."""
    own = settings.ledger
    marks = HighMarks(
        rows_max=own.backlog_rows_max, mib_max=own.backlog_mib_max, free_mib_min=own.free_disk_mib_min
    )
    return Capacity(database, written_directories(own.url, settings.store.path), marks)


def written_directories(url: str, store: Path) -> list[Path]:
    """The directories that this installation fills: the store's, and the ledger's where it is a file."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return [store, *([Path(str(parsed.database)).resolve().parent] if is_file else [])]


def _existing(path: Path) -> Path:
    """The nearest directory that is there already."""
    while not path.exists():
        path = path.parent
    return path
