"""What `clorad status` says, read from the ledger: the overview, and what each agent waits for and lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.learning.scheduler import (
    freshness_of,
    lacks,
    next_turn,
    replies_of,
    shows_replies,
    waiting_reason,
    waits_for_replies,
)
from daemon.roles.canaries import canary_options
from daemon.settings import Settings
from daemon.upkeep.capacity import ResourceUse, build_capacity
from ledger.database import Database
from ledger.learning.agents import Agent, all_agents
from ledger.learning.retries import NextTry
from ledger.reports.audit import Place
from ledger.reports.overview import Overview, overview
from ledger.versions.holds import Hold, all_holds
from ledger.versions.looks import ServingChampion, serving_champions
from serving.canary.waiting import waiting_candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusDocument:
    """The state of everything in one snapshot. Mappings are by agent."""

    state: Overview
    agents: Mapping[str, Agent]
    waits: Mapping[str, str | None]  # for what, in words; None: it is due
    turns: Mapping[str, NextTry]
    missing: Mapping[str, list[str]]
    candidates_wait: Mapping[str, str]
    holds: Mapping[str, Hold]
    champions: Mapping[str, ServingChampion]
    measures: Sequence[ResourceUse]

    def to_json(self, *, ends: Mapping[Place, int], roles: Mapping[str, Any]) -> dict[str, Any]:
        """The state for programs. `ends` are the broker's, `roles` their readiness; empty if not asked."""
        next_turns = {name: turn.text if turn.at_once else None for name, turn in self.turns.items()}
        document = self.state.to_json(waits_for=self.waits, next_turns=next_turns, ends=ends)
        for name, agent in document["agents"].items():
            hold = self.holds.get(name)
            agent["candidate_waits_for"] = self.candidates_wait.get(name)
            agent["lacks"] = self.missing[name]
            agent["on_hold_by"] = None if hold is None else hold.by
            agent["judged_again"] = _looks_json(self.champions.get(name))
        room = {
            measure.name: {"used": measure.used, "low": measure.low, "high": measure.high}
            for measure in self.measures
        }
        return {**document, "room": room, "roles": dict(roles)}


def read_status(settings: Settings, database: Database) -> StatusDocument:
    """The state of everything."""
    freshness = freshness_of(settings)
    with database.read() as connection:
        state = overview(connection)
        candidates_wait = waiting_candidates(connection, canary_options(settings))
        holds = all_holds(connection)
        champions = {own.version.agent: own for own in serving_champions(connection)}
        replies = replies_of(connection, [agent.backlog for agent in state.agents], freshness)
        agents = all_agents(connection)
    return StatusDocument(
        state=state,
        agents=agents,
        waits={
            agent.name: waiting_reason(agent.backlog, freshness)
            or waits_for_replies(
                agent.backlog, replies[agent.name], freshness, captures=shows_replies(agents[agent.name])
            )
            for agent in state.agents
        },
        turns={agent.name: next_turn(agent.backlog, freshness) for agent in state.agents},
        missing={
            agent.name: list(
                lacks(
                    agent.backlog, replies[agent.name], freshness, captures=agents[agent.name].capture
                ).values()
            )
            for agent in state.agents
        },
        candidates_wait=candidates_wait,
        holds=holds,
        champions=champions,
        measures=build_capacity(settings, database).measures(),
    )


def _looks_json(champion: ServingChampion | None) -> dict[str, Any] | None:
    """How often the champion was judged again; None where the base serves."""
    if champion is None:
        return None
    return {"looks": champion.looks, "other_template": champion.has_other_template}
