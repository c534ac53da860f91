"""Checks whether replicas may load a version: its files are unchanged, and its base is the fleet's.

Each version is checked once, before any load: a replica accepts a file of the wrong shape without an error,
and an adapter that computes NaN spoils the answers of every other model on the replica.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from engine.adapter_files import damaged_files
from engine.manifest import DamagedManifest, read_manifest
from engine.measurements import Absent, Probe
from ledger.versions.lineage import Version
from serving.fleet.parity import complaint_about

log = structlog.get_logger(__name__)

BEHIND_S_MAX = 15.0
"""Seconds a directory may be missing before it counts as lost: shared storage shows renames late."""

CHECKS_MAX = 256
"""Checks in memory, with the probes of their versions; far more than a fleet serves. Others are repeated."""

NOT_READ = Absent("the manifest of the version was not read")


class StoreBehind(OSError):
    """The version's directory is not there yet; it is checked again in the next round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCheck:
    """What the fleet needs to know about a version's directory."""

    path: str
    complaint: str | None = None  # why the version must not be loaded anywhere
    probes: Sequence[Probe] = ()
    kl_nats: float | Absent = NOT_READ  # of the training


class VersionChecker:
    """Checks versions in the adapter store. Versions never change, so a check is remembered."""

    def __init__(self, store: Path, base_hash: str, *, checks_max: int = CHECKS_MAX) -> None:
        self._store = store
        self._base_hash = base_hash
        self._checks_max = checks_max
        self._checks: OrderedDict[str, VersionCheck] = OrderedDict()
        self._missing_since_s: dict[str, float] = {}
        self._lock = threading.Lock()

    def check(self, version: Version) -> VersionCheck:
        """What the version's directory holds.

        Raises `OSError` where the store is away or behind, and `NewerManifest` where a newer clorad wrote
        the version.
        """
        with self._lock:
            remembered = self._checks.get(version.model)
            if remembered is None:
                remembered = self._read(version)
                self._remember(version, remembered)
            self._checks.move_to_end(version.model)
            return remembered

    def _remember(self, version: Version, check: VersionCheck) -> None:
        self._checks[version.model] = check
        self._missing_since_s.pop(version.model, None)
        if len(self._checks) > self._checks_max:
            self._checks.popitem(last=False)
        if check.complaint is not None:
            log.error("version unfit", agent=version.agent, version=version.name, why=check.complaint)

    def _read(self, version: Version) -> VersionCheck:
        path = self._store / version.path
        if version.base_hash != self._base_hash:
            return VersionCheck(
                path=str(path),
                complaint=f"made for base {version.base_hash[:12]}, the fleet serves {self._base_hash[:12]}",
            )
        self._store.stat()  # raises where the store is away: no fault of the version
        try:
            manifest = read_manifest(path)
            damaged = damaged_files(path)
        except (FileNotFoundError, NotADirectoryError) as missing:
            since_s = self._missing_since_s.setdefault(version.model, time.monotonic())
            if time.monotonic() - since_s < BEHIND_S_MAX:
                raise StoreBehind(version.model) from None
            return VersionCheck(
                path=str(path), complaint=f"its directory is incomplete: {type(missing).__name__}"
            )
        except DamagedManifest as damage:
            return VersionCheck(path=str(path), complaint=str(damage))
        if manifest.content_hash != version.hash or damaged:
            difference = ", ".join(damaged) or manifest.content_hash[:12]
            return VersionCheck(path=str(path), complaint=f"not what was trained: {difference}")
        return VersionCheck(
            path=str(path),
            complaint=complaint_about(manifest.probes),
            probes=manifest.probes,
            kl_nats=manifest.metrics.kl_nats,
        )
