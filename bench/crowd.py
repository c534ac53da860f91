"""Many agents whose people send feedback: one sends half of it, the others less and less, by Zipf's law.

Time is virtual: events arrive at random moments (a Poisson process) of a clock the benchmark advances.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ledger.learning.backlog import Backlog
from rewards.episode import Episode, Part, Weighted

BUSIEST_SHARE = 0.5
STEP_EVENTS = 8  # of one optimizer step
GATE_SHARE = 0.25  # of the events: kept for judging, never taught


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedEvent:
    """One event that can teach."""

    at_s: float
    episode: Episode


class Crowd:
    """What every agent has waiting, at a virtual time."""

    def __init__(
        self, agents: Sequence[str], *, events_per_s: float, seed: int, start_s: float = 0.0
    ) -> None:
        assert len(agents) > 1
        self.waiting: dict[str, deque[SimulatedEvent]] = {agent: deque() for agent in agents}
        self._gate = dict.fromkeys(agents, 0)
        others = [1.0 / rank for rank in range(1, len(agents))]
        shares = [BUSIEST_SHARE, *((1.0 - BUSIEST_SHARE) * share / sum(others) for share in others)]
        self._agents, self._heaped = list(agents), list(accumulate(shares))
        self._chance = random.Random(seed)
        self._events_per_s = events_per_s
        self._next_s = start_s + self._chance.expovariate(events_per_s)

    def arrive(self, until_s: float) -> None:
        """Everything said up to then waits."""
        while self._next_s <= until_s:
            [agent] = self._chance.choices(self._agents, cum_weights=self._heaped)
            if self._chance.random() < GATE_SHARE:
                self._gate[agent] += 1
            else:
                self.waiting[agent].append(
                    SimulatedEvent(at_s=self._next_s, episode=episode(agent, self._chance))
                )
            self._next_s += self._chance.expovariate(self._events_per_s)

    def backlogs(self, now_s: float) -> list[Backlog]:
        """As the learner reads them from the ledger; every candidate was promoted at once."""
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
        """The agent's oldest events leave its backlog: its next turn is about them."""
        waiting = self.waiting[agent]
        self._gate[agent] = 0
        return [waiting.popleft() for _ in range(min(events_max, len(waiting)))]


def episode(agent: str, chance: random.Random) -> Episode:
    """A correction like any other, of always the same length."""
    asked, wanted = (f"{chance.randrange(10**8):08d}" for _ in range(2))
    return Episode(
        events=(f"bench#{agent}-{asked}",),
        part=Part.NEW,
        messages=({"role": "user", "content": f"case {asked}"},),
        reply=Weighted(text=wanted),
    )
