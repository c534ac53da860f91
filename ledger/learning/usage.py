"""What training of each agent has cost lately, in tokens: the scheduler shares time and keeps quotas by it.

It is read from the turns, so that all learners know the same, also one that has just started.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from ledger.database import now_s
from ledger.schema import agents, passes, turns

WINDOW_S = 3600.0
"""Seconds back to which costs count, for the sharing of time and for the quota of an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCost:
    """What one turn cost its agent."""

    agent: str
    weight: float  # of the agent, as it is now
    virtual_time: float  # of its pass: of the agents that were due when it was opened, in tokens by weight
    tokens: int  # 0 while the turn is open, and if it was void
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How many tokens an agent was trained on within the window, and its quota."""

    tokens: int = 0
    tokens_max: int | None = None  # None: no quota
    wait_s: float = 0.0  # until less than the quota lies within the window; 0 if that is so now


def recent_costs(connection: Connection) -> list[TurnCost]:
    """The costs of turns that are open or were closed within the window, in the order they were opened."""
    query = (
        select(turns.c.agent, agents.c.weight, passes.c.virtual_time, turns.c.tokens, turns.c.closed_s)
        .join(passes, passes.c.id == turns.c.pass_id)
        .join(agents, agents.c.name == turns.c.agent)
        .where(or_(turns.c.closed_s.is_(None), turns.c.closed_s > now_s(connection) - WINDOW_S))
        .order_by(turns.c.id)
    )
    return [
        TurnCost(
            agent=row.agent,
            weight=row.weight,
            virtual_time=row.virtual_time,
            tokens=row.tokens,
            is_open=row.closed_s is None,
        )
        for row in connection.execute(query)
    ]


def usages(connection: Connection) -> dict[str, Usage]:
    """The usage of every agent, by name."""
    now = now_s(connection)
    query = (
        select(turns.c.agent, turns.c.closed_s, turns.c.tokens)
        .where(turns.c.closed_s > now - WINDOW_S)
        .order_by(turns.c.closed_s)
    )
    spent: dict[str, list[tuple[float, int]]] = {}
    for agent, closed_s, tokens in connection.execute(query):
        spent.setdefault(agent, []).append((closed_s - now + WINDOW_S, tokens))
    quotas = connection.execute(select(agents.c.name, agents.c.tokens_per_hour_max))
    return {name: usage_of(spent.get(name, ()), tokens_max=tokens_max) for name, tokens_max in quotas}


def usage_of(spent: Iterable[tuple[float, int]], *, tokens_max: int | None) -> Usage:
    """The usage that turns add up to. Each is (seconds until it leaves the window, tokens); the first to
    leave comes first."""
    spent = tuple(spent)
    total, wait_s = sum(tokens for _, tokens in spent), 0.0
    remaining = total
    for leaves_s, tokens in spent:
        if tokens_max is None or remaining < tokens_max:
            break
        remaining, wait_s = remaining - tokens, leaves_s
    return Usage(tokens=total, tokens_max=tokens_max, wait_s=wait_s)
