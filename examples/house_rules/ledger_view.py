"""A window onto clorad's ledger, read only: what the director shows and reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.intake import dead_letters
from ledger.learning.backlog import backlogs
from ledger.reports import receipts
from ledger.schema import dead_letters as dead_letter_rows
from ledger.schema import decisions, events, positions, turn_events, turns, versions
from ledger.versions.decisions import SETTLED, Verdict, decisions_of, undecided
from ledger.versions.lineage import version_name


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """What the ledger says about one agent now."""

    version: str
    backlog: int
    learning: bool
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One version that went live by a decision."""

    agent: str
    version: str
    decided_s: float


class LedgerView:
    """Reads the ledger. A ledger that is busy or not there yet shows nothing new."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def close(self) -> None:
        """The ledger's files are let go."""
        self._database.close()

    def look(self) -> Mapping[str, AgentView]:
        """Every agent as it stands."""
        try:
            with self._database.read() as connection:
                return {
                    one.agent: AgentView(
                        version=_champion_name(connection, one.agent, one.champion),
                        backlog=one.untaught,
                        learning=_is_learning(connection, one.agent),
                        verdict=_last_verdict(connection, one.agent),
                    )
                    for one in backlogs(connection)
                }
        except LedgerUnavailable:
            return {}

    def judging(self) -> bool:
        """Whether some candidate waits for its verdict."""
        with self._database.read() as connection:
            return bool(undecided(connection))

    def stored(self) -> int:
        """Feedback events kept."""
        with self._database.read() as connection:
            return int(connection.scalar(select(func.count()).select_from(events)) or 0)

    def dead(self) -> dict[str, int]:
        """Dead letters by reason."""
        with self._database.read() as connection:
            return {reason.value: count for reason, count in dead_letters.counts(connection).items()}

    def places(self, topic: str) -> set[tuple[int, int]]:
        """Partition and offset of every record of the topic that was stored or set aside."""
        topic_ids = select(positions.c.topic_id).where(positions.c.topic == topic)
        found: set[tuple[int, int]] = set()
        with self._database.read() as connection:
            for table in (events, dead_letter_rows):
                query = select(table.c.partition, table.c.offset).where(table.c.topic_id.in_(topic_ids))
                found.update((row.partition, row.offset) for row in connection.execute(query))
        return found

    def is_reading(self, topic: str) -> bool:
        """Whether intake has taken its place in the topic."""
        query = select(func.count()).where(positions.c.topic == topic)
        with self._database.read() as connection:
            return bool(connection.scalar(query))

    def promotions(self) -> list[Promotion]:
        """Every promotion, oldest first."""
        query = (
            select(decisions.c.agent, decisions.c.number, decisions.c.decided_s, versions.c.hash)
            .join(
                versions, (versions.c.agent == decisions.c.agent) & (versions.c.number == decisions.c.number)
            )
            .where(decisions.c.kind == Verdict.PROMOTE.value)
            .order_by(decisions.c.id)
        )
        with self._database.read() as connection:
            return [
                Promotion(
                    agent=row.agent,
                    version=version_name(row.number, row.hash),
                    decided_s=row.decided_s,
                )
                for row in connection.execute(query)
            ]

    def refusals(self, agent: str, *, after_s: float = 0.0) -> int:
        """How many of the agent's candidates were refused after a moment."""
        query = select(func.count()).where(
            decisions.c.agent == agent,
            decisions.c.kind == Verdict.REFUSE.value,
            decisions.c.decided_s > after_s,
        )
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)

    def events_to_live_s(self) -> list[float]:
        """Seconds from an event to the promotion of the version it was taught to, for every such event."""
        query = (
            select(decisions.c.decided_s - func.coalesce(events.c.occurred_s, events.c.received_s))
            .select_from(decisions)
            .join(
                versions, (versions.c.agent == decisions.c.agent) & (versions.c.number == decisions.c.number)
            )
            .join(turn_events, (turn_events.c.turn_id == versions.c.turn_id) & (turn_events.c.part == "new"))
            .join(events, events.c.seq == turn_events.c.event_seq)
            .where(decisions.c.kind == Verdict.PROMOTE.value)
        )
        with self._database.read() as connection:
            return [float(seconds) for seconds in connection.scalars(query)]

    def first_taught(self) -> str | None:
        """The first event that a version was taught: `source#id`."""
        query = (
            select(events.c.source, events.c.id)
            .join(turn_events, turn_events.c.event_seq == events.c.seq)
            .where(turn_events.c.outcome == "trained")
            .order_by(turn_events.c.turn_id, events.c.seq)
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else f"{row.source}#{row.id}"

    def agents_per_pass_max(self) -> int:
        """The most agents that got a version out of one pass."""
        per_pass = (
            select(func.count().label("agents")).where(turns.c.state == "made").group_by(turns.c.pass_id)
        ).subquery()
        with self._database.read() as connection:
            return int(connection.scalar(select(func.max(per_pass.c.agents))) or 0)

    def open_pass(self) -> int | None:
        """The pass that is being trained."""
        query = select(func.max(turns.c.pass_id)).where(turns.c.state == "open")
        with self._database.read() as connection:
            found = connection.scalar(query)
        return None if found is None else int(found)

    def newest_pass(self) -> int | None:
        """The pass opened last."""
        with self._database.read() as connection:
            found = connection.scalar(select(func.max(turns.c.pass_id)))
        return None if found is None else int(found)


def _champion_name(connection: Connection, agent: str, number: int) -> str:
    found = connection.scalar(
        select(versions.c.hash).where(versions.c.agent == agent, versions.c.number == number)
    )
    return version_name(number, found or "")


def _is_learning(connection: Connection, agent: str) -> bool:
    query = select(func.count()).where(turns.c.agent == agent, turns.c.state == "open")
    return bool(connection.scalar(query))


def _last_verdict(connection: Connection, agent: str) -> str:
    settled = [one for one in decisions_of(connection, agent) if one.verdict in SETTLED]
    if not settled:
        return ""
    last = settled[-1]
    return f"v{last.number} {last.verdict.value}: {_reason(last.evidence)}"


def _reason(evidence: Mapping[str, Any]) -> str:
    """The gate's numbers in a few words, and what it had against the candidate."""
    numbers = evidence.get("judgement") or {}
    told = list(receipts.reasons_of(evidence))
    if "wins" in numbers:
        told.insert(0, f"{numbers['wins']} better, {numbers['losses']} worse")
    if numbers.get("suite"):
        told.append(f"elsewhere {numbers['suite_losses']} of {numbers['suite']} worse")
    return "; ".join(told)
