"""What people said about each agent lately, and in how many conversations: counts within a window of time."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ledger.database import now_s
from ledger.events import CORRECTING, Kind, Status
from ledger.schema import events, live_conversations


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentFeedback:
    """The counts of one agent within the window."""

    corrections: int = 0
    interventions: int = 0  # takeovers, aborts, rejections
    conversations: int = 0  # that gateways counted; 0 where they counted none

    @property
    def corrected_share(self) -> float | None:
        """Corrections and interventions by conversation; None where no conversation was counted."""
        if not self.conversations:
            return None
        return (self.corrections + self.interventions) / self.conversations


def recent_feedback(connection: Connection, *, window_s: float) -> Mapping[str, RecentFeedback]:
    """By agent, what arrived within the last `window_s` seconds; agents without any are left out."""
    since_s = now_s(connection) - window_s
    kinds: dict[str, dict[Kind, int]] = defaultdict(dict)
    said = (
        select(events.c.agent, events.c.kind, func.count())
        .where(events.c.seq > _newest_before(connection, since_s))
        .group_by(events.c.agent, events.c.kind)
    )
    for agent, kind, number in connection.execute(said):
        kinds[agent][Kind(kind)] = int(number)
    counted = (
        select(live_conversations.c.agent, func.sum(live_conversations.c.conversations))
        .where(live_conversations.c.since_s >= int(since_s))
        .group_by(live_conversations.c.agent)
    )
    conversations = {agent: int(number) for agent, number in connection.execute(counted)}
    return {
        agent: RecentFeedback(
            corrections=sum(kinds[agent].get(kind, 0) for kind in CORRECTING),
            interventions=sum(kinds[agent].get(kind, 0) for kind in (Kind.TAKEOVER, Kind.ABORT, Kind.REJECT)),
            conversations=conversations.get(agent, 0),
        )
        for agent in kinds.keys() | conversations.keys()
    }


def contested_counts(connection: Connection) -> dict[str, int]:
    """How many contested events each agent has; agents without any are left out."""
    query = (
        select(events.c.agent, func.count())
        .where(events.c.status == Status.CONTESTED.value)
        .group_by(events.c.agent)
    )
    return {agent: int(number) for agent, number in connection.execute(query)}


def _newest_before(connection: Connection, at_s: float) -> int:
    """The number of the newest event that was stored before that time; 0 where there is none.

    Events are stored in the order of their numbers, so some twenty look-ups by the primary key find it: the
    time has no index, which every event would pay for.
    """
    low, high = 0, int(connection.scalar(select(func.max(events.c.seq))) or 0)
    while low < high:
        middle = (low + high + 1) // 2
        query = (
            select(events.c.received_s).where(events.c.seq <= middle).order_by(events.c.seq.desc()).limit(1)
        )
        received_s = connection.scalar(query)
        if received_s is None or received_s < at_s:
            low = middle
        else:
            high = middle - 1
    return low
