"""Who learns next: pure functions over backlogs. No clock, no queue, no database.

Training time is shared by weight in tokens: each agent's account grows by what it was trained on divided
by its weight, and the smallest accounts go first (start-time fair queueing, Goyal, Vin & Cheng 1996).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.backlog import Backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """When feedback is due."""

    events_min: int
    age_s_max: float
    alpha: float  # of the gate; how much evidence it needs decides when learning is worth it


def due(backlogs: Sequence[Backlog], freshness: Freshness) -> list[Backlog]:
    """The agents whose feedback is due, those that waited longest first.

    An agent is due with `events_min` untaught events *and* enough gate-role corrections to be judged, or
    once its oldest event is `age_s_max` old. After a refusal or an abstention it needs news as well.
    """
    ready = [backlog for backlog in backlogs if _is_due(backlog, freshness)]
    return sorted(ready, key=lambda backlog: (-backlog.oldest_age_s, backlog.agent))


def evidence_needed(refusals: int, *, alpha: float) -> int:
    """Gate-role corrections without which the sign test cannot promote, and one to spare for a tie."""
    tries = refusals + 1
    return math.ceil(math.log2(tries * (tries + 1) / alpha)) + 1


def _is_due(backlog: Backlog, freshness: Freshness) -> bool:
    if backlog.has_candidate or backlog.untaught == 0 or not backlog.news:
        return False
    needed = evidence_needed(backlog.refusals, alpha=freshness.alpha)
    enough = backlog.untaught >= freshness.events_min and backlog.gate_new >= needed
    return enough or backlog.oldest_age_s >= freshness.age_s_max


@dataclass(slots=True)
class FairShare:
    """Accounts of training tokens, one an agent, in tokens divided by weight."""

    account: dict[str, float] = field(default_factory=dict)
    virtual_time: float = 0.0  # where the agents in service stand; idleness is not saved up below it

    def choose(self, candidates: Sequence[Backlog], *, slots: int, age_s_max: float) -> list[str]:
        """At most `slots` agents: the overdue before the others, and the smallest accounts first.

        Not the longest waiting: an agent that sends more than its share always has the oldest feedback.
        """
        for one in candidates:
            self.account[one.agent] = max(self.account.get(one.agent, 0.0), self.virtual_time)

        def order(one: Backlog) -> tuple[bool, float, float, str]:
            late = one.oldest_age_s >= age_s_max
            return (not late, self.account[one.agent], -one.oldest_age_s, one.agent)

        chosen = [one.agent for one in sorted(candidates, key=order)[:slots]]
        if chosen:
            self.virtual_time = max(self.virtual_time, min(self.account[agent] for agent in chosen))
        return chosen

    def charge(self, agent: str, *, tokens: int, weight: float) -> None:
        """The agent was trained on that many tokens."""
        self.account[agent] = self.account.get(agent, self.virtual_time) + tokens / weight
