"""Samples that teach nothing: they are too old for the champion, or the recipe has no term that uses them.

Nothing can make old ones fresh again but a rollback, so they leave the backlog before the next turn is
planned: they would make an agent due that has nothing to learn.
"""

from collections.abc import Iterable, Mapping

import structlog

from daemon.learning import metrics
from engine.recipe import Term, recipe_from
from ledger.database import Connection, Database
from ledger.events import Status
from ledger.learning import event_queries
from ledger.learning.agents import Agent
from ledger.learning.backlog import samples_of, untaught_samples
from ledger.versions.desired import champion
from ledger.versions.lineage import turns_between

log = structlog.get_logger(__name__)

NO_POLICY = "the policy term of its recipe is 0: only people's own replies teach"
"""Why an outcome, a rejection or an abort teaches an agent nothing whatever the answer was."""


def set_useless_samples_aside(database: Database, agents: Iterable[Agent]) -> None:
    """Mark untaught events about samples that no turn of these agents may use now, each with the reason."""
    for agent in agents:
        with database.read() as connection:
            useless = _useless_samples(connection, agent)
        if useless:
            event_queries.mark(database, {seq: (Status.BARREN, why) for seq, why in useless.items()})
            metrics.count_stale_samples(sum(why != NO_POLICY for why in useless.values()))
            log.info("samples teach nothing", agent=agent.name, events=len(useless))


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


def _useless_samples(connection: Connection, agent: Agent) -> Mapping[int, str]:
    recipe = recipe_from(agent.recipe)
    if recipe.coefficients[Term.POLICY] == 0.0:
        return dict.fromkeys(untaught_samples(connection, agent.name), NO_POLICY)
    parent = champion(connection, agent.name)
    old = stale_versions(connection, agent.name, parent, staleness_max=recipe.staleness_max)
    samples = samples_of(connection, agent.name, old)
    return {seq: old[version] for seq, version in samples.items()}
