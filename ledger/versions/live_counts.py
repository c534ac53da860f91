"""Reads what gateways counted of a canary and its champion, and deletes old counts."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select

from ledger.database import Database, now_s
from ledger.events import Signal
from ledger.intake.live_counts import BUCKET_S
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedCounts:
    """What was counted of a promoted version since then, and of its predecessor before."""

    before: int  # conversations of the predecessor
    before_shown: Counter[Signal]  # those that showed each signal
    after: tuple[tuple[int, int], ...]  # minutes, oldest first: since_s, conversations of the version
    after_shown: tuple[tuple[Signal, float], ...]  # the moment at which each with a signal was counted


def promoted_counts(
    connection: Connection, agent: str, *, version: str, predecessor: str, promoted_s: float
) -> PromotedCounts:
    """What gateways counted of both; of the version from the first whole minute after its promotion on."""
    first_s = (int(promoted_s) // BUCKET_S + 1) * BUCKET_S
    answered, shown = live_conversations.c, live_signals.c
    of_predecessor = (answered.agent == agent, answered.version == predecessor, answered.since_s < promoted_s)
    shown_before = (
        select(shown.signal, func.count())
        .where(shown.agent == agent, shown.version == predecessor, shown.seen_s < promoted_s)
        .group_by(shown.signal)
    )
    after = (
        select(answered.since_s, func.sum(answered.conversations))
        .where(answered.agent == agent, answered.version == version, answered.canary == "")
        .where(answered.since_s >= first_s)
        .group_by(answered.since_s)
        .order_by(answered.since_s)
    )
    shown_after = (
        select(shown.signal, shown.seen_s)
        .where(shown.agent == agent, shown.version == version, shown.canary == "")
        .where(shown.seen_s >= first_s)
    )
    before = connection.scalar(select(func.sum(answered.conversations)).where(*of_predecessor))
    before_shown = {Signal(signal): int(count) for signal, count in connection.execute(shown_before)}
    return PromotedCounts(
        before=int(before or 0),
        before_shown=Counter(before_shown),
        after=tuple((int(since_s), int(number)) for since_s, number in connection.execute(after)),
        after_shown=tuple((Signal(signal), float(at_s)) for signal, at_s in connection.execute(shown_after)),
    )


def delete_old(database: Database) -> int:
    """Counts older than `KEPT_S` are gone. Returns how many rows went."""
    with database.write() as connection:
        before_s = now_s(connection) - KEPT_S
        return sum(
            connection.execute(delete(column.table).where(column < before_s)).rowcount
            for column in (live_conversations.c.since_s, live_signals.c.seen_s, live_producers.c.seen_s)
        )
