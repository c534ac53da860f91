"""A list of all agents: their settings, the version each serves, and the size of its backlog."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ledger.learning.agents import Agent, all_agents
from ledger.learning.backlog import backlogs
from ledger.versions.desired import Purpose, wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSummary:
    """One agent in the list."""

    agent: Agent
    champion: int  # number of the version
    champion_name: str
    since_s: float | None  # when it began to serve; None if that is not recorded
    untaught: int  # events in its backlog

    def to_json(self) -> dict[str, Any]:
        """The agent for programs."""
        return {
            "name": self.agent.name,
            "base_hash": self.agent.base_hash,
            "scorer": self.agent.scorer,
            "recipe": dict(self.agent.recipe),
            "capture": self.agent.capture,
            "weight": self.agent.weight,
            "tokens_per_hour_max": self.agent.tokens_per_hour_max,
            "canary_share": self.agent.canary_share,
            "confirm": self.agent.confirm,
            "gate": self.agent.gate.value,
            "champion": self.champion,
            "untaught": self.untaught,
        }


def agent_list(connection: Connection) -> list[AgentSummary]:
    """All agents by name, in one snapshot."""
    waiting = {backlog.agent: backlog for backlog in backlogs(connection)}
    serving = {row.agent: row for row in wanted(connection) if row.purpose is Purpose.SERVE}
    summaries = []
    for name, agent in all_agents(connection).items():
        row = serving.get(name)
        summaries.append(
            AgentSummary(
                agent=agent,
                champion=waiting[name].champion,
                champion_name="v0" if row is None or row.version is None else row.version.name,
                since_s=None if row is None else row.since_s,
                untaught=waiting[name].untaught,
            )
        )
    return summaries
