"""What a key allows its holder: rights, agents and limits. Nothing heavy is imported here."""

from dataclasses import dataclass
from enum import StrEnum


class Right(StrEnum):
    """One thing that a key may allow."""

    TALK = "talk"  # ask agents
    FEEDBACK = "feedback"  # send events, and amend or retract one's own
    READ = "read"  # see the routing table, and what dashboards show
    ACT = "act"  # amend or retract other people's events
    JUDGE = "judge"  # its author's word needs nobody else's: verifiers, environments, a lead
    EXPERIMENT = "experiment"  # be answered by versions that nobody judged


USUAL_RIGHTS = frozenset({Right.TALK, Right.FEEDBACK})
"""What a key allows where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a key is given when it is made. A limit that is None does not exist."""

    name: str  # author of the feedback sent with it
    agents: frozenset[str] | None = None  # None: every agent, also those declared later
    rights: frozenset[Right] = USUAL_RIGHTS
    concurrency_max: int | None = None  # requests at once, at one gateway
    requests_per_minute_max: int | None = None  # at one gateway

    def opens(self, agent: str) -> bool:
        """Whether it is for this agent."""
        return self.agents is None or agent in self.agents
