"""The page of the fleet: which replica holds which version, and why one is out of rotation."""

from dataclasses import dataclass

from starlette.responses import Response

from daemon.dashboard.visit import Visit
from ledger.database import Connection
from ledger.versions.desired import Wanted, wanted
from ledger.versions.routing import ReplicaState

ROWS_A_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldVersion:
    """One version that the ledger wants on the replicas, and which of them list it."""

    wanted: Wanted
    held: tuple[bool, ...]  # by replica, in their order

    @property
    def is_missing(self) -> bool:
        """Whether a replica lacks it."""
        return not all(self.held)


def show_fleet(visit: Visit) -> Response:
    """Replicas by versions; the versions of agents that the viewer may see."""
    document = visit.reports.status()
    replicas = document.state.replicas
    text, missing_only = visit.asked("q").casefold(), visit.asked("only") == "missing"
    rows = [
        row
        for row in _rows(visit.reports.read("fleet", _wanted_versions), replicas)
        if visit.viewer.may_see(row.wanted.agent) and text in row.wanted.agent.casefold()
    ]
    chosen = [row for row in rows if row.is_missing or not missing_only]
    page = visit.page_of(len(chosen), ROWS_A_PAGE)
    return visit.page(
        "fleet.html",
        document=document,
        replicas=replicas,
        rows=page.items(chosen),
        all=len(rows),
        missing=sum(row.is_missing for row in rows),
        missing_only=missing_only,
        text=visit.asked("q"),
        page=page,
    )


def _wanted_versions(connection: Connection) -> list[Wanted]:
    """What the ledger wants on replicas; the base is always there."""
    return [row for row in wanted(connection) if row.version is not None]


def _rows(versions: list[Wanted], replicas: tuple[ReplicaState, ...]) -> list[HeldVersion]:
    models = [frozenset(replica.models) for replica in replicas]
    return [
        HeldVersion(
            wanted=row,
            held=tuple(row.version is not None and row.version.model in held for held in models),
        )
        for row in sorted(versions, key=lambda row: (row.agent, row.purpose.value))
    ]
