"""What learning has cost lately, in training tokens: what time is shared by and quotas are kept by.

Read from the turns themselves, so that every learner, also one that has just started, knows the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from ledger.database import now_s
from ledger.schema import agents, passes, turns

WINDOW_S = 3600.0
"""How far back `lately` and an hour's quota reach. Debts older than that are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What one turn cost its agent."""

    agent: str
    weight: float  # of the agent, as it is now
    virtual_time: float  # of its pass: where those who were due stood when it was opened, in tokens by weight
    tokens: int  # 0 while it is open, and where it was void
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an agent was trained on within the window, and what it may be."""

    tokens: int = 0
    tokens_max: int | None = None  # None: no quota
    wait_s: float = 0.0  # until less than the quota lies within the window; 0 where that is so now


def lately(connection: Connection) -> list[Trained]:
    """Every turn that is open or was closed within the window, in the order they were opened in."""
    query = (
        select(turns.c.agent, agents.c.weight, passes.c.virtual_time, turns.c.tokens, turns.c.closed_s)
        .join(passes, passes.c.id == turns.c.pass_id)
        .join(agents, agents.c.name == turns.c.agent)
        .where(or_(turns.c.closed_s.is_(None), turns.c.closed_s > now_s(connection) - WINDOW_S))
        .order_by(turns.c.id)
    )
    return [
        Trained(
            agent=row.agent,
            weight=row.weight,
            virtual_time=row.virtual_time,
            tokens=row.tokens,
            is_open=row.closed_s is None,
        )
        for row in connection.execute(query)
    ]


def usages(connection: Connection) -> dict[str, Usage]:
    """What every agent used of its quota, by name."""
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
    """The usage that (seconds until it leaves the window, tokens) add up to, those that leave first first."""
    spent = tuple(spent)
    inside, wait_s = sum(tokens for _, tokens in spent), 0.0
    left = inside
    for leaves_s, tokens in spent:
        if tokens_max is None or left < tokens_max:
            break
        left, wait_s = left - tokens, leaves_s
    return Usage(tokens=inside, tokens_max=tokens_max, wait_s=wait_s)
