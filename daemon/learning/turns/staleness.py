"""Samples that are too old to learn from: the champion has moved away from the version that gave them.

Nothing can make them fresh again but a rollback, so they leave the backlog before the next turn is planned:
they would make an agent due that has nothing to learn.
"""

from collections.abc import Iterable, Mapping

import structlog

from daemon.learning import metrics
from engine.recipe import recipe_from
from ledger.database import Connection, Database
from ledger.events import Status
from ledger.learning import event_queries
from ledger.learning.agents import Agent
from ledger.learning.backlog import samples_of
from ledger.versions.desired import champion
from ledger.versions.lineage import turns_between

log = structlog.get_logger(__name__)


def set_stale_samples_aside(database: Database, agents: Iterable[Agent]) -> None:
    """Mark untaught events about samples that no turn of these agents may use now, each with the reason."""
    for agent in agents:
        with database.read() as connection:
            stale = _stale_samples(connection, agent)
        if stale:
            event_queries.mark(database, {seq: (Status.BARREN, why) for seq, why in stale.items()})
            metrics.count_stale_samples(len(stale))
            log.info("samples are too old to learn from", agent=agent.name, events=len(stale))


def stale_versions(
    connection: Connection, agent: str, parent: int, *, staleness_max: int | None
) -> dict[str, str]:
    """The versions from which a turn that starts from `parent` learns no policy, with the reason."""
    if staleness_max is None:
        return {}
    return {
        name: f"sampled {turns} turns away from the champion, at most {staleness_max} teach"
        for name, turns in turns_between(connection, agent, parent).items()
        if turns > staleness_max
    }


def _stale_samples(connection: Connection, agent: Agent) -> Mapping[int, str]:
    recipe = recipe_from(agent.recipe)
    parent = champion(connection, agent.name)
    old = stale_versions(connection, agent.name, parent, staleness_max=recipe.staleness_max)
    samples = samples_of(connection, agent.name, old)
    return {seq: old[version] for seq, version in samples.items()}
