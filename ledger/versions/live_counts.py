"""Reads what gateways counted of a canary and its champion, and deletes old counts."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from ledger.database import Database, now_s
from ledger.events import Signal
from ledger.schema import live_conversations, live_producers, live_signals

KEPT_S = 7 * 86_400.0
"""Seconds after which counts are deleted: no comparison looks further back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedSignals:
    """What was counted of one agent while one canary had a share; `True` stands for the canary."""

    conversations: Counter[tuple[float, bool]]  # by share
    signals: Counter[tuple[Signal, float, bool]]  # conversations by signal and share


def canary_counts(connection: Connection, agent: str, canary: str) -> CountedSignals:
    """All that gateways counted of a canary and of its champion beside it."""
    answered = live_conversations.c
    conversations = (
        select(answered.share, answered.version, func.sum(answered.conversations))
        .where(answered.agent == agent, answered.canary == canary)
        .group_by(answered.share, answered.version)
    )
    shown = live_signals.c
    signals = (
        select(shown.signal, shown.share, shown.version, func.count())
        .where(shown.agent == agent, shown.canary == canary)
        .group_by(shown.signal, shown.share, shown.version)
    )
    counted = CountedSignals(conversations=Counter(), signals=Counter())
    for share, version, number in connection.execute(conversations):
        counted.conversations[share, version == canary] += int(number)
    for signal, share, version, number in connection.execute(signals):
        counted.signals[Signal(signal), share, version == canary] += int(number)
    return counted


def delete_old(database: Database) -> int:
    """Counts older than `KEPT_S` are gone. Returns how many rows went."""
    with database.write() as connection:
        before_s = now_s(connection) - KEPT_S
        return sum(
            connection.execute(delete(column.table).where(column < before_s)).rowcount
            for column in (live_conversations.c.since_s, live_signals.c.seen_s, live_producers.c.seen_s)
        )
