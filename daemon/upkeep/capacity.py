"""Decides whether intake may read more events: by waiting rows and bytes, and free disk, each with two marks.

Intake stops reading at the high mark and goes on below the low mark, so that it does not stop and start at
every event. Kafka keeps the events meanwhile. Messages in the outbox count as waiting too.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.settings import Settings
from ledger.database import Database
from ledger.files import file_of_url
from ledger.reports import load

CHECK_EVERY_S = 5.0
CHECK_SHARE_MAX = 0.05  # of the time: to count a very long backlog takes seconds
LOW_SHARE = 0.8  # of a high mark

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HighMarks:
    """The high marks; the low ones follow from them. With 0 MiB of free disk, disks are not checked."""

    rows_max: int
    mib_max: int
    free_mib_min: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """The use of one resource. `used` grows towards `high`; below `low` there is capacity again."""

    name: str
    used: int
    low: int
    high: int
    text: str  # for people, with the numbers

    @property
    def is_over(self) -> bool:
        """Whether the high mark is reached."""
        return self.used >= self.high

    @property
    def is_under(self) -> bool:
        """Whether it is below the low mark."""
        return self.used < self.low


class Capacity:
    """Gives the reason to read no more events. It may be called often, and measures rarely."""

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
        self._next_check_s = float("-inf")
        self._full: dict[str, str] = {}

    def __call__(self) -> str:
        """The reason to read no more events; empty if there is none. Raises `LedgerUnavailable`."""
        began_s = self._clock()
        if began_s >= self._next_check_s:
            for use in self.measures():
                if use.is_over or (use.name in self._full and not use.is_under):
                    self._full[use.name] = use.text
                else:
                    self._full.pop(use.name, None)
            took_s = self._clock() - began_s
            self._next_check_s = began_s + max(CHECK_EVERY_S, took_s / CHECK_SHARE_MAX)
        return "; ".join(self._full.values())

    def disk_shortage(self) -> str:
        """The reason to write nothing large now; empty if no disk is at its high mark."""
        return "; ".join(use.text for use in self._disks() if use.is_over)

    def measures(self) -> list[ResourceUse]:
        """The use of every resource now."""
        return [*self._disks(), *self._backlog()]

    def _disks(self) -> list[ResourceUse]:
        free_min = self._marks.free_mib_min
        if free_min == 0:
            return []
        by_device = {}
        for path in map(_existing, self._paths):
            disk = self._disk_usage(path)
            free_mib, size_mib = disk.free // _MIB, disk.total // _MIB
            by_device[path.stat().st_dev] = ResourceUse(
                name=f"disk of {path.name or path}",
                used=size_mib - free_mib,
                low=size_mib - int(free_min / LOW_SHARE),
                high=size_mib - free_min + 1,
                text=f"{free_mib:,} MiB of disk free, {free_min:,} needed",
            )
        return list(by_device.values())

    def _backlog(self) -> list[ResourceUse]:
        rows_max, bytes_max = self._marks.rows_max, self._marks.mib_max * _MIB
        rows_low, bytes_low = int(rows_max * LOW_SHARE), int(bytes_max * LOW_SHARE)
        with self._database.read() as connection:
            waiting = load.waiting(connection, rows_few=rows_low, bytes_few=bytes_low)
        counts = f"{waiting.events:,} events wait to be learned, {waiting.messages:,} messages for Kafka"
        return [
            ResourceUse(
                name="rows",
                used=waiting.events + waiting.messages,
                low=rows_low,
                high=rows_max,
                text=counts,
            ),
            ResourceUse(
                name="bytes",
                used=waiting.size_bytes,
                low=bytes_low,
                high=bytes_max,
                text=f"{waiting.size_bytes // _MIB:,} MiB wait: {counts}",
            ),
        ]


def build_capacity(settings: Settings, database: Database) -> Capacity:
    """The capacity of this installation, with the marks of its settings."""
    ledger = settings.ledger
    marks = HighMarks(
        rows_max=ledger.backlog_rows_max,
        mib_max=ledger.backlog_mib_max,
        free_mib_min=ledger.free_disk_mib_min,
    )
    return Capacity(database, written_directories(ledger.url, settings.store.path), marks)


def written_directories(url: str, store: Path) -> list[Path]:
    """The directories that this installation fills: the store's, and the ledger's if it is a file."""
    file = file_of_url(url)
    return [store, *([file.resolve().parent] if file is not None else [])]


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    while not path.exists():
        path = path.parent
    return path
