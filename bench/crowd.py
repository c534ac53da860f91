"""Simulates feedback for many agents: one gets half of it, the others less and less, by Zipf's law.

Time is virtual: events arrive as a Poisson process on a clock that the benchmark advances.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ledger.learning.backlog import Backlog
from rewards.episode import Episode, Part, Weighted

BUSIEST_SHARE = 0.5
STEP_EVENTS = 8  # in one optimizer step
GATE_SHARE = 0.25  # of the events: for the gate, never trained on


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedEvent:
    """One event to train on."""

    at_s: float
    episode: Episode


class Crowd:
    """What waits for each agent at a virtual time."""

    def __init__(
        self, agents: Sequence[str], *, events_per_s: float, seed: int, start_s: float = 0.0
    ) -> None:
        assert len(agents) > 1
        self.waiting: dict[str, deque[SimulatedEvent]] = {agent: deque() for agent in agents}
        self._gate = dict.fromkeys(agents, 0)
        others = [1.0 / rank for rank in range(1, len(agents))]
        shares = [BUSIEST_SHARE, *((1.0 - BUSIEST_SHARE) * share / sum(others) for share in others)]
        self._agents, self._cumulative_shares = list(agents), list(accumulate(shares))
        self._chance = random.Random(seed)
        self._events_per_s = events_per_s
        self._next_s = start_s + self._chance.expovariate(events_per_s)

    def arrive(self, until_s: float) -> None:
        """Add the events up to this moment to what waits."""
        while self._next_s <= until_s:
            [agent] = self._chance.choices(self._agents, cum_weights=self._cumulative_shares)
            if self._chance.random() < GATE_SHARE:
                self._gate[agent] += 1
            else:
                self.waiting[agent].append(
                    SimulatedEvent(at_s=self._next_s, episode=episode(agent, self._chance))
                )
            self._next_s += self._chance.expovariate(self._events_per_s)

    def backlogs(self, now_s: float) -> list[Backlog]:
        """The backlogs as the learner reads them from the ledger, if every candidate is promoted at once."""
        return [
            Backlog(
                agent=agent,
                champion=1,
                untaught=len(waiting),
                oldest_age_s=now_s - waiting[0].at_s,
                gate_new=self._gate[agent],
                refusals=0,
                news=True,
                has_candidate=False,
            )
            for agent, waiting in self.waiting.items()
            if waiting
        ]

    def take(self, agent: str, events_max: int) -> list[SimulatedEvent]:
        """Take the agent's oldest events out of its backlog, for its next turn."""
        waiting = self.waiting[agent]
        self._gate[agent] = 0
        return [waiting.popleft() for _ in range(min(events_max, len(waiting)))]


def episode(agent: str, chance: random.Random) -> Episode:
    """A correction with random digits; all have the same length."""
    case, wanted = (f"{chance.randrange(10**8):08d}" for _ in range(2))
    return Episode(
        events=(f"bench#{agent}-{case}",),
        part=Part.NEW,
        messages=({"role": "user", "content": f"case {case}"},),
        reply=Weighted(text=wanted),
    )
