"""Chooses the version and the replica that answer for an agent, from a table read from the ledger.

The table, and the clients' keys with it, is read again when its generation has grown. While the ledger is
away the last table stays in use: a gateway that has read it once can go on answering without the ledger.
"""

import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial

import structlog
from opentelemetry import metrics

from ledger.access.keys import AccessKey, keys_by_id
from ledger.database import Database
from ledger.errors import LedgerRefused, LedgerUnavailable
from ledger.learning.agents import all_agents
from ledger.versions.desired import generation
from ledger.versions.routing import Route, Routing, is_in_share, routing

log = structlog.get_logger(__name__)
_generation = metrics.get_meter("serving").create_gauge(
    "clorad.gateway.generation",
    unit="{generation}",
    description="the generation of the routing that a gateway uses",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTarget:
    """The replica and the model that answer one request."""

    url: str
    model: str  # its name on that replica
    version: str  # v7-3fa2c1; v0 for the base
    canary: str = ""  # version that has a share of the agent's conversations
    share: float = 0.0


RouteChoice = partial[RouteTarget | None]
"""`choose` with the conversation of one request."""


def choose(
    table: Routing,
    agent: str,
    *,
    conversation: str,
    in_flight: Mapping[str, int],
    avoid: AbstractSet[str] = frozenset(),
    experiments: bool = False,
) -> RouteTarget | None:
    """The least busy replica in rotation that lists the agent's version; None where there is none.

    The champion stands in for a canary that no replica lists. With `experiments`, the version that nobody
    judged answers, if there is one; nothing stands in for it. Raises `KeyError` for an agent that is not
    declared.
    """
    route = table.routes[agent]
    if experiments and route.experiment_version is not None:
        route = replace(
            route,
            version=route.experiment_version,
            model=route.experiment_model,
            canary_version=None,
            canary_share=0.0,
        )
    version, model = version_for(route, conversation)
    if version == route.canary_version and not _is_held(table, model):
        version, model = route.version, route.model
    canary = route.canary_version or ""
    able = [
        (
            in_flight.get(replica.url, 0),
            place,
            RouteTarget(
                url=replica.url, model=name, version=version, canary=canary, share=route.canary_share
            ),
        )
        for place, replica in enumerate(table.replicas)
        if replica.in_rotation and replica.url not in avoid
        if (name := replica.base_name if model is None else model if model in replica.models else None)
    ]
    return min(able, key=lambda candidate: candidate[:2])[2] if able else None


def version_for(route: Route, conversation: str) -> tuple[str, str | None]:
    """Version and model for a conversation: always the same; each canary draws other conversations."""
    if route.canary_version is not None and is_in_share(
        conversation, route.canary_version, route.canary_share
    ):
        return route.canary_version, route.canary_model
    return route.version, route.model


def _is_held(table: Routing, model: str | None) -> bool:
    return any(replica.in_rotation and model in replica.models for replica in table.replicas)


class RoutingTable:
    """The routing table as last read. One thread keeps it fresh; any thread may read `current`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading = threading.Lock()
        self._away = False
        self.current: Routing | None = None
        self.keys: Mapping[str, AccessKey] | None = None  # of the gateway's clients, by id

    def refresh(self) -> bool:
        """Read it again if it may have changed. Returns whether the ledger answered."""
        with self._reading:
            known = self.current
            try:
                with self._database.read() as connection:
                    if known is None or generation(connection) != known.generation:
                        captured = {name: agent.capture for name, agent in all_agents(connection).items()}
                        self.keys = keys_by_id(connection)
                        self.current = routing(connection, captured)
            except (LedgerUnavailable, LedgerRefused) as fault:
                if not self._away:
                    log.warning(
                        "ledger away, routing as last known", fault=str(fault), known=known is not None
                    )
                self._away = True
                return False
            if self._away:
                log.info("ledger is back")
            self._away = False
        if self.current is not None and (known is None or known.generation != self.current.generation):
            log.info("routing read", generation=self.current.generation)
            _generation.set(self.current.generation)
        return True


def keep_fresh(table: RoutingTable, stopping: threading.Event, *, poll_s: float) -> None:
    """Refresh the table every `poll_s` seconds until `stopping` is set."""
    while not stopping.is_set():
        table.refresh()
        stopping.wait(poll_s)
