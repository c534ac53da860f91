"""The routing table of gateways, and the state in which the fleet role last saw each replica."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from ledger.database import Database, now_s
from ledger.schema import replicas
from ledger.versions.decisions import experimenting
from ledger.versions.desired import Purpose, generation, raise_generation, wanted
from ledger.versions.lineage import BASE


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """One replica as the fleet role last saw it."""

    url: str
    in_rotation: bool  # gateways send requests to it
    base_name: str | None  # the model name under which it serves the base
    models: tuple[str, ...]  # adapters that it lists
    note: str | None = None  # the reason why it is not in rotation
    seen_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How one agent is served: the champion, and a canary with its share of conversations."""

    agent: str
    version: str  # v7-3fa2c1; v0 for the base
    model: str | None  # on a replica; None for the base, which each replica lists under a name of its own
    capture: bool
    canary_version: str | None = None
    canary_model: str | None = None
    canary_share: float = 0.0
    experiment_version: str | None = None  # that nobody judged: it answers requests with an experiment's key
    experiment_model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Everything that a gateway needs to choose a replica and a model, as of one generation."""

    generation: int
    routes: Mapping[str, Route]
    replicas: Sequence[ReplicaState]


def routing(connection: Connection, captured: Mapping[str, bool]) -> Routing:
    """The whole routing table. `captured` says of each agent whether its interactions are stored."""
    routes: dict[str, Route] = {}
    experiments = experimenting(connection)
    by_purpose = {(row.agent, row.purpose): row for row in wanted(connection)}
    for (agent, purpose), serving in by_purpose.items():
        if purpose is not Purpose.SERVE:
            continue
        experiment = None
        if agent in experiments:
            experiment, serving = serving.version, by_purpose[agent, Purpose.PREDECESSOR]
        canary = by_purpose.get((agent, Purpose.CANARY))
        share = 0.0 if canary is None else canary.share
        candidate = None if canary is None or share == 0.0 else canary.version
        routes[agent] = Route(
            agent=agent,
            version="v0" if serving.number == BASE or serving.version is None else serving.version.name,
            model=None if serving.version is None else serving.version.model,
            capture=captured.get(agent, False),
            canary_version=None if candidate is None else candidate.name,
            canary_model=None if candidate is None else candidate.model,
            canary_share=share,
            experiment_version=None if experiment is None else experiment.name,
            experiment_model=None if experiment is None else experiment.model,
        )
    return Routing(generation=generation(connection), routes=routes, replicas=replica_states(connection))


def is_in_share(conversation: str, version: str, share: float) -> bool:
    """Whether a conversation belongs to the share of this canary.

    Always the same conversations; a larger share has those of a smaller one, and each canary draws anew.
    """
    digest = hashlib.sha256(f"{version}\0{conversation}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def replica_states(connection: Connection) -> list[ReplicaState]:
    """Every replica as the fleet role last saw it."""
    return [
        ReplicaState(
            url=row.url,
            in_rotation=row.in_rotation,
            base_name=row.base_name,
            models=tuple(row.models),
            note=row.note,
            seen_s=row.seen_s,
        )
        for row in connection.execute(select(replicas).order_by(replicas.c.url))
    ]


def record_replicas(database: Database, observations: Sequence[ReplicaState]) -> bool:
    """Replace the states of all replicas. Returns whether routing may have changed, and raises the
    generation if so."""
    with database.write() as connection:
        before = {_routing_key(state) for state in replica_states(connection)}
        changed = before != {_routing_key(state) for state in observations}
        connection.execute(delete(replicas))
        now = now_s(connection)
        for state in observations:
            connection.execute(
                insert(replicas).values(
                    url=state.url,
                    in_rotation=state.in_rotation,
                    base_name=state.base_name,
                    models=sorted(state.models),
                    note=state.note,
                    seen_s=now,
                )
            )
        if changed:
            raise_generation(connection)
        return changed


def _routing_key(state: ReplicaState) -> tuple[str, bool, str | None, tuple[str, ...]]:
    return (state.url, state.in_rotation, state.base_name, tuple(sorted(state.models)))
