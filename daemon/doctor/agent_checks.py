"""Checks of the agents: whether there are any, what each lacks to learn, and what judges it."""

from collections.abc import Iterator, Mapping

import httpx

from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.doctor.ledger_checks import ledger_of
from daemon.learning.scheduler import Lack, freshness_of, lacks, replies_of
from daemon.settings import Settings
from engine.recipe import recipe_from
from ledger.database import Connection
from ledger.learning.agents import Agent, all_agents
from ledger.learning.backlog import backlogs
from ledger.versions.gate_modes import GateMode
from serving.certificates import authorities

SCORER_S_MAX = 5.0

_BY_LACK: Mapping[Lack, Fault] = {
    Lack.CAPTURES: Fault.NOT_CAPTURED,
    Lack.OUTCOMES_GATE: Fault.ONLY_OUTCOMES,
    Lack.ANCHORS: Fault.NO_ANCHORS,
    Lack.SUITE: Fault.NO_SUITE,
    Lack.EVIDENCE: Fault.TOO_LITTLE_EVIDENCE,
    Lack.SECOND_AUTHOR: Fault.ONE_AUTHOR,
}


def agent_checks(settings: Settings) -> CheckGroup:
    """The checks of the agents in the settings and in the ledger."""
    return CheckGroup(
        name="agents",
        checks=(
            HealthCheck(name="declared", run=lambda: _are_declared(settings)),
            HealthCheck(name="recipes", run=lambda: _fit_the_engine(settings)),
            HealthCheck(name="capture", run=lambda: _are_captured(settings)),
            HealthCheck(name="evidence for the gate", run=lambda: _can_be_judged(settings)),
            HealthCheck(name="scorers", run=lambda: _are_scored(settings)),
        ),
    )


def known_agents(settings: Settings) -> dict[str, Agent]:
    """The agents in the ledger; none where it cannot be read."""
    try:
        with ledger_of(settings) as database, database.read() as connection:
            return dict(all_agents(connection))
    except Undone:
        return {}


def _are_declared(settings: Settings) -> Iterator[FoundFault]:
    if not settings.agents and not known_agents(settings):
        yield Fault.NO_AGENT.at("agents", "there is no agent: every event becomes a dead letter")


def _fit_the_engine(settings: Settings) -> Iterator[FoundFault]:
    recipes = {name: agent.recipe for name, agent in known_agents(settings).items()}
    recipes |= {name: agent.recipe for name, agent in settings.agents.items()}
    for name, changes in sorted(recipes.items()):
        rank = recipe_from(changes).rank
        if rank > settings.engine.rank_max:
            yield Fault.AGENT_RANK.at(
                name, f"its rank is {rank}, engine.rank_max is {settings.engine.rank_max}"
            )


def _are_captured(settings: Settings) -> Iterator[FoundFault]:
    """Agents that outcomes judge or teach learn from captured answers only."""
    modes = {
        name: (agent.gate, agent.capture, agent.recipe) for name, agent in known_agents(settings).items()
    }
    modes |= {name: (agent.gate, agent.capture, agent.recipe) for name, agent in settings.agents.items()}
    for name, (gate, capture, recipe) in sorted(modes.items()):
        if not capture and (gate is GateMode.OUTCOMES or recipe_from(recipe).group_advantages):
            yield Fault.NOT_CAPTURED.at(name, "it learns from outcomes, which teach only what was captured")


def _can_be_judged(settings: Settings) -> Iterator[FoundFault]:
    with ledger_of(settings) as database, database.read() as connection:
        yield from list(_lacking(settings, connection))


def _lacking(settings: Settings, connection: Connection) -> Iterator[FoundFault]:
    freshness, agents = freshness_of(settings), all_agents(connection)
    waiting = backlogs(connection)
    replies = replies_of(connection, waiting, freshness)
    for backlog in waiting:
        captures = agents[backlog.agent].capture
        for lack, text in lacks(backlog, replies[backlog.agent], freshness, captures=captures).items():
            if not (lack is Lack.CAPTURES and backlog.gate is GateMode.OUTCOMES):  # said by `_are_captured`
                yield _BY_LACK[lack].at(backlog.agent, text.partition(";")[0])


def _are_scored(settings: Settings) -> Iterator[FoundFault]:
    used = {agent.scorer for agent in settings.agents.values()}
    used |= {agent.scorer for agent in known_agents(settings).values()}
    servers = {name: server for name, server in settings.scorers.items() if name in used}
    if not servers:
        raise Undone("no agent has a scorer that is a server")
    for name, server in servers.items():
        try:
            httpx.get(server.url, timeout=SCORER_S_MAX, verify=authorities(), trust_env=False)
        except httpx.HTTPError as fault:  # an answer of any status shows that it is there
            yield Fault.SCORER_AWAY.at(name, f"the scorer does not answer: {type(fault).__name__}")
