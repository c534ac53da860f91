"""Whether there is room to take in more: untaught events and free disk, looked at every few seconds.

Where there is none, intake pauses and Kafka keeps the events; where the disk is short, turns pause too.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from ledger.database import Database
from ledger.events import Status
from ledger.schema import events

LOOK_EVERY_S = 5.0

_MIB = 1 << 20


class Room:
    """Called often, looks rarely. Says why there is no room, or nothing."""

    def __init__(
        self,
        database: Database,
        paths: Sequence[Path],
        *,
        rows_max: int,
        free_mib_min: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._paths = paths
        self._rows_max, self._free_mib_min = rows_max, free_mib_min
        self._clock = clock
        self._look_s, self._why = float("-inf"), ""

    def __call__(self) -> str:
        """Why nothing more may be taken in; empty where there is room."""
        if self._clock() - self._look_s >= LOOK_EVERY_S:
            self._look_s = self._clock()
            self._why = self._short_of_disk() or self._too_much_waiting()
        return self._why

    def _short_of_disk(self) -> str:
        for path in self._paths:
            free_mib = shutil.disk_usage(_existing(path)).free // _MIB
            if free_mib < self._free_mib_min:
                return f"{free_mib} MiB of disk free, {self._free_mib_min} needed"
        return ""

    def _too_much_waiting(self) -> str:
        open_rows = select(events.c.seq).where(events.c.status == Status.OPEN.value)
        with self._database.read() as connection:
            # The limit keeps the count from walking a table that is far too large already.
            limited = open_rows.limit(self._rows_max).subquery()
            waiting = int(connection.scalar(select(func.count()).select_from(limited)) or 0)
        return f"{waiting} events wait to be learned" if waiting >= self._rows_max else ""


def places_written(url: str, store: Path) -> list[Path]:
    """The directories that this installation fills: the store's, and the ledger's where it is a file."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return [store, *([Path(str(parsed.database)).resolve().parent] if is_file else [])]


def _existing(path: Path) -> Path:
    """The nearest directory that is there already."""
    while not path.exists():
        path = path.parent
    return path
