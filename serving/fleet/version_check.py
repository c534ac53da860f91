"""Whether a version may be put on a replica at all: its files are what was trained, over our base.

Looked at once per version and before any load: a replica takes a file of the wrong shape without
complaint, and one that computes NaN spoils the answers of every other model it serves.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from engine.adapter_files import damaged
from engine.manifest import DamagedManifest, read_manifest
from engine.measurements import Absent, Probe
from ledger.versions.lineage import Version
from serving.fleet.parity import unusable

log = structlog.get_logger(__name__)

BEHIND_S_MAX = 15.0
"""How long a directory may be missing before it counts as lost: shared storage shows renames late."""


KNOWN_MAX = 256
"""Versions remembered, with their probes: many times what is served. Others are looked at again."""


NOT_READ = Absent("the manifest of the version was not read")


class StoreBehind(OSError):
    """The version's directory is not there yet; it is looked at again at the next tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCheck:
    """A version's directory as the fleet needs to know it."""

    path: str
    complaint: str | None = None  # why it must not be loaded anywhere
    probes: Sequence[Probe] = ()
    kl_nats: float | Absent = NOT_READ  # of the training


class VersionChecker:
    """The adapter store as the fleet reads it. Versions never change, so none is looked at twice in a row."""

    def __init__(self, store: Path, base_hash: str, *, known_max: int = KNOWN_MAX) -> None:
        self._store = store
        self._base_hash = base_hash
        self._known_max = known_max
        self._known: OrderedDict[str, VersionCheck] = OrderedDict()
        self._missed_s: dict[str, float] = {}
        self._lock = threading.Lock()

    def fitness(self, version: Version) -> VersionCheck:
        """What the version's directory holds. Raises `OSError` where the store is away or behind, and
        `NewerManifest` where a newer clorad wrote the version."""
        with self._lock:
            known = self._known.get(version.model)
            if known is None:
                known = self._look(version)
                self._known[version.model] = known
                self._missed_s.pop(version.model, None)
                if len(self._known) > self._known_max:
                    self._known.popitem(last=False)
                if known.complaint is not None:
                    log.error("version unfit", agent=version.agent, version=version.name, why=known.complaint)
            self._known.move_to_end(version.model)
            return known

    def _look(self, version: Version) -> VersionCheck:
        path = self._store / version.path
        if version.base_hash != self._base_hash:
            return VersionCheck(
                path=str(path),
                complaint=f"made for base {version.base_hash[:12]}, the fleet serves {self._base_hash[:12]}",
            )
        self._store.stat()  # a store that is away is no fault of the version
        try:
            manifest = read_manifest(path)
            broken = damaged(path)
        except (FileNotFoundError, NotADirectoryError) as missing:
            first_s = self._missed_s.setdefault(version.model, time.monotonic())
            if time.monotonic() - first_s < BEHIND_S_MAX:
                raise StoreBehind(version.model) from None
            return VersionCheck(
                path=str(path), complaint=f"its directory is incomplete: {type(missing).__name__}"
            )
        except DamagedManifest as damage:
            return VersionCheck(path=str(path), complaint=str(damage))
        if manifest.content_hash != version.hash or broken:
            found = ", ".join(broken) or manifest.content_hash[:12]
            return VersionCheck(path=str(path), complaint=f"not what was trained: {found}")
        return VersionCheck(
            path=str(path),
            complaint=unusable(manifest.probes),
            probes=manifest.probes,
            kl_nats=manifest.metrics.kl_nats,
        )
