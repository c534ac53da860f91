"""Simulates how the scheduler shares training time: feedback arrives, agents are chosen, passes take time.

Time is virtual: a pass takes its training tokens divided by a fixed capacity. The function that trains is
passed in, so that this module needs no torch.
"""

import random
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.crowd import GATE_SHARE, STEP_EVENTS, Crowd, episode
from bench.fairness import jain, max_min_share
from daemon.learning.scheduler import Freshness, choose_agents, due_backlogs
from ledger.learning.usage import WINDOW_S as REMEMBERED_S
from ledger.learning.usage import TurnCost
from rewards.episode import Episode

SLOTS = 8
CAPACITY_TOKENS_PER_S = 500.0
WINDOW_S = 60.0
EVENTS_MAX = 64  # in one turn
FRESHNESS = Freshness(
    events_min=16, age_s_max=60.0, alpha=0.05, refusals_max=3, suite_min=0, settle_s=0.0, authors_min=1
)
WARM_UP_S = 2 * FRESHNESS.age_s_max  # at first no agent is due, and then all of them at once
LOOK_AGAIN_S = 0.5  # where no agent is due

Teach = Callable[[Mapping[str, Sequence[Episode]]], dict[str, int]]
"""One pass: new episodes by agent -> training tokens by agent. Every event has the same number of tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """How training time was shared at one load."""

    load: float  # offered, of capacity
    virtual_s: float
    turns: int
    passes: int
    busy_share: float
    windows: int
    jain_fair_share: float  # mean over the windows
    jain_fair_share_min: float
    busiest_of_its_share: float  # tokens of the agent with half of all feedback, divided by its max-min share
    oldest_wait_s_max: float  # from an event's arrival to the end of the pass that was trained on it


@dataclass(slots=True)
class _Counted:
    """Sums and lists over a simulation."""

    turns: int = 0
    passes: int = 0
    busy_s: float = 0.0
    wait_s_max: float = 0.0
    evenness: list[float] = field(default_factory=list)
    busiest: list[float] = field(default_factory=list)


def share(teach: Teach, agents: Sequence[str], *, load: float, virtual_s: float, seed: int) -> Shared:
    """Simulate `virtual_s` seconds in which feedback arrives at `load` times the capacity."""
    tokens_per_event = float(teach({agents[0]: [episode(agents[0], random.Random(0))]})[agents[0]])
    rate = load * CAPACITY_TOKENS_PER_S / (tokens_per_event * (1.0 - GATE_SHARE))
    crowd = Crowd(agents, events_per_s=rate, seed=seed)
    ledger, counted = deque[tuple[float, TurnCost]](), _Counted()
    now_s, window_s, received = 0.0, 0.0, dict[str, float]()
    while now_s <= WARM_UP_S + virtual_s or not counted.evenness:
        crowd.arrive(now_s)
        waiting = due_backlogs(crowd.backlogs(now_s), FRESHNESS)
        if now_s < WARM_UP_S:
            window_s, received, counted = now_s, {}, _Counted()
        elif now_s - window_s >= WINDOW_S:
            owed = {backlog.agent: backlog.untaught * tokens_per_event for backlog in waiting}
            _close_window(received, owed, now_s - window_s, agents[0], counted)
            window_s, received = now_s, {}
        while ledger and ledger[0][0] <= now_s - REMEMBERED_S:
            ledger.popleft()
        recent = [turn for _, turn in ledger]
        chosen = choose_agents(waiting, recent, slots=SLOTS, age_s_max=FRESHNESS.age_s_max)
        if not chosen.agents:
            now_s += LOOK_AGAIN_S
            continue
        work = {agent: crowd.take(agent, _turn_events(len(crowd.waiting[agent]))) for agent in chosen.agents}
        trained = teach({agent: [event.episode for event in events] for agent, events in work.items()})
        lasted_s = sum(trained.values()) / CAPACITY_TOKENS_PER_S
        now_s += lasted_s
        for agent, tokens in trained.items():
            ledger.append((now_s, _closed_turn(agent, tokens, chosen.virtual_time)))
            received[agent] = received.get(agent, 0.0) + tokens
        counted.turns, counted.passes = counted.turns + len(work), counted.passes + 1
        counted.busy_s += lasted_s
        oldest_s = min(events[0].at_s for events in work.values())
        counted.wait_s_max = max(counted.wait_s_max, now_s - oldest_s)
    crowd.arrive(now_s)  # events that still wait count too
    ages = [backlog.oldest_age_s for backlog in due_backlogs(crowd.backlogs(now_s), FRESHNESS)]
    return Shared(
        load=load,
        virtual_s=round(now_s - WARM_UP_S, 1),
        turns=counted.turns,
        passes=counted.passes,
        busy_share=round(counted.busy_s / (now_s - WARM_UP_S), 3),
        windows=len(counted.evenness),
        jain_fair_share=round(statistics.mean(counted.evenness), 4),
        jain_fair_share_min=round(min(counted.evenness), 4),
        busiest_of_its_share=round(statistics.mean(counted.busiest), 3),
        oldest_wait_s_max=round(max(counted.wait_s_max, *ages, 0.0), 2),
    )


def _closed_turn(agent: str, tokens: int, virtual_time: float) -> TurnCost:
    return TurnCost(agent=agent, weight=1.0, virtual_time=virtual_time, tokens=tokens, is_open=False)


def _turn_events(waiting: int) -> int:
    """As many events as fill whole optimizer steps, or all where they fill less than one step."""
    whole = min(waiting, EVENTS_MAX)
    return whole if whole < STEP_EVENTS else whole - whole % STEP_EVENTS


def _close_window(
    received: Mapping[str, float], owed: Mapping[str, float], lasted_s: float, busiest: str, counted: _Counted
) -> None:
    """Add one window: each agent's tokens divided by its max-min share of what was trained or is due."""
    demand = {name: received.get(name, 0.0) + owed.get(name, 0.0) for name in received.keys() | owed.keys()}
    fair = max_min_share(demand, CAPACITY_TOKENS_PER_S * lasted_s)
    counted.evenness.append(jain([received.get(name, 0.0) / fair[name] for name in sorted(fair)]))
    counted.busiest.append(received.get(busiest, 0.0) / fair[busiest] if busiest in fair else 1.0)
