"""Reads clorad's ledger for the demo: what the view shows and what the report counts. Never writes."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from daemon.learning.scheduler import evidence_needed
from daemon.settings import GateSettings
from examples.house_rules.recipe import EVENTS_MIN
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.events import Kind
from ledger.intake import dead_letters
from ledger.learning.backlog import Backlog, backlogs
from ledger.learning.event_queries import event_by_uid
from ledger.reports.examples import changed_examples
from ledger.reports.timeline import Timeline, timelines
from ledger.schema import dead_letters as dead_letter_rows
from ledger.schema import decisions, events, positions, turn_events, turns, versions
from ledger.turn_states import EventOutcome, TurnPart, TurnState, in_part, in_state
from ledger.versions.decisions import SETTLED, Verdict, decisions_of, undecided
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import version_name
from rewards.episode import first_user_text
from rewards.replies import reply_text


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """What the ledger says about one agent now."""

    version: str
    backlog: int
    learning: bool
    verdict: str
    lacks_events: bool  # more corrections would let it learn now


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One held-out prompt that people corrected: the answers before and after the agent was taught."""

    asked: str
    before: str
    corrected: str
    after: str

    @property
    def lines(self) -> tuple[str, ...]:
        """The change in words."""
        return (
            f"asked:     {self.asked}",
            f"before:    {self.before}",
            f"corrected: {self.corrected}",
            f"after:     {self.after}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One version that a decision made the champion."""

    agent: str
    version: str
    decided_s: float


class LedgerView:
    """Reads the ledger."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def agents(self) -> Mapping[str, AgentState]:
        """Every agent's state by name; empty while the ledger is busy or not there yet."""
        try:
            with self._database.read() as connection:
                return {
                    backlog.agent: AgentState(
                        version=_champion_name(connection, backlog.agent, backlog.champion),
                        backlog=backlog.untaught,
                        learning=_is_learning(connection, backlog.agent),
                        verdict=_last_verdict(connection, backlog.agent),
                        lacks_events=lacks_events(backlog),
                    )
                    for backlog in backlogs(connection)
                }
        except LedgerUnavailable:
            return {}

    def is_judging(self) -> bool:
        """Whether some candidate waits for its verdict."""
        with self._database.read() as connection:
            return bool(undecided(connection))

    def stored(self) -> int:
        """How many feedback events are stored."""
        with self._database.read() as connection:
            return int(connection.scalar(select(func.count()).select_from(events)) or 0)

    def dead(self) -> dict[str, int]:
        """How many dead letters there are, by reason."""
        with self._database.read() as connection:
            return {reason.value: count for reason, count in dead_letters.counts(connection).items()}

    def places(self, topic: str) -> set[tuple[int, int]]:
        """Partition and offset of every record of the topic that is an event or a dead letter."""
        topic_ids = select(positions.c.topic_id).where(positions.c.topic == topic)
        places: set[tuple[int, int]] = set()
        with self._database.read() as connection:
            for table in (events, dead_letter_rows):
                query = select(table.c.partition, table.c.offset).where(table.c.topic_id.in_(topic_ids))
                places.update((row.partition, row.offset) for row in connection.execute(query))
        return places

    def is_reading(self, topic: str) -> bool:
        """Whether intake has a position in the topic."""
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

    def timelines(self) -> list[Timeline]:
        """How long each promoted version took, in order of promotion."""
        with self._database.read() as connection:
            return timelines(connection)

    def first_change(self, agent: str) -> Change | None:
        """The prompt that the agent's first promoted version improved most; None where there is none."""
        with self._database.read() as connection:
            promoted = (
                decision
                for decision in decisions_of(connection, agent)
                if decision.verdict is Verdict.PROMOTE
            )
            if (first := next(promoted, None)) is None:
                return None
            examples = [example for example in changed_examples(first.evidence) if not example.suite]
            if not examples or not (kept := event_by_uid(connection, examples[0].uid)):
                return None
            data = kept[0].event.data
        if "corrected" not in data:
            return None
        return Change(
            asked=first_user_text(data["messages"]),
            before=examples[0].before_text or "",
            corrected=reply_text(data["corrected"]),
            after=examples[0].after_text or "",
        )

    def refusals(self, agent: str, *, after_s: float = 0.0) -> int:
        """How many of the agent's candidates were refused after `after_s` (Unix time)."""
        query = select(func.count()).where(
            decisions.c.agent == agent,
            decisions.c.kind == Verdict.REFUSE.value,
            decisions.c.decided_s > after_s,
        )
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)

    def events_to_live_s(self) -> list[float]:
        """Seconds from each event to the promotion of the version that was trained on it."""
        query = (
            select(decisions.c.decided_s - func.coalesce(events.c.occurred_s, events.c.received_s))
            .select_from(decisions)
            .join(
                versions, (versions.c.agent == decisions.c.agent) & (versions.c.number == decisions.c.number)
            )
            .join(
                turn_events,
                (turn_events.c.turn_id == versions.c.turn_id) & (in_part(TurnPart.NEW)),
            )
            .join(events, events.c.seq == turn_events.c.event_seq)
            .where(decisions.c.kind == Verdict.PROMOTE.value)
        )
        with self._database.read() as connection:
            return [float(seconds) for seconds in connection.scalars(query)]

    def first_taught(self) -> str | None:
        """The first correction that a version was trained on, as `source#id`; None where there is none."""
        query = (
            select(events.c.source, events.c.id)
            .join(turn_events, turn_events.c.event_seq == events.c.seq)
            .where(
                turn_events.c.outcome == EventOutcome.TRAINED.value,
                events.c.kind == Kind.CORRECTION.value,
            )
            .order_by(turn_events.c.turn_id, events.c.seq)
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else f"{row.source}#{row.id}"

    def agents_per_pass_max(self) -> int:
        """The largest number of agents that got a version from the same pass."""
        per_pass = (
            select(func.count().label("agents")).where(in_state(TurnState.MADE)).group_by(turns.c.pass_id)
        ).subquery()
        with self._database.read() as connection:
            return int(connection.scalar(select(func.max(per_pass.c.agents))) or 0)

    def open_pass(self) -> int | None:
        """The pass that is being trained; None where there is none."""
        query = select(func.max(turns.c.pass_id)).where(in_state(TurnState.OPEN))
        with self._database.read() as connection:
            pass_id = connection.scalar(query)
        return None if pass_id is None else int(pass_id)

    def newest_pass(self) -> int | None:
        """The pass that was opened last; None before the first."""
        with self._database.read() as connection:
            pass_id = connection.scalar(select(func.max(turns.c.pass_id)))
        return None if pass_id is None else int(pass_id)


def lacks_events(backlog: Backlog) -> bool:
    """Whether it waits for more events, or for more held-out corrections than chance gave it."""
    if backlog.is_learning or backlog.has_candidate or backlog.untaught == 0:
        return False
    judging = backlog.gate_new + backlog.gate_unconfirmed
    needed = evidence_needed(backlog.refusals, alpha=GateSettings().alpha)
    return backlog.untaught + backlog.unconfirmed < EVENTS_MIN or judging < needed


def _champion_name(connection: Connection, agent: str, number: int) -> str:
    content_hash = connection.scalar(
        select(versions.c.hash).where(versions.c.agent == agent, versions.c.number == number)
    )
    return version_name(number, content_hash or "")


def _is_learning(connection: Connection, agent: str) -> bool:
    query = select(func.count()).where(turns.c.agent == agent, in_state(TurnState.OPEN))
    return bool(connection.scalar(query))


def _last_verdict(connection: Connection, agent: str) -> str:
    settled = [decision for decision in decisions_of(connection, agent) if decision.verdict in SETTLED]
    if not settled:
        return ""
    last = settled[-1]
    return f"v{last.number} {last.verdict.value}: {_reason(last.evidence)}"


def _reason(evidence: Evidence) -> str:
    """The gate's numbers in a few words, and what it had against the candidate."""
    words, numbers = list(evidence.reasons), evidence.judgement
    if numbers is not None:
        words.insert(0, f"{numbers.wins} better, {numbers.losses} worse")
    if numbers is not None and numbers.suite:
        words.append(f"elsewhere {numbers.suite_losses} of {numbers.suite} worse")
    return "; ".join(words)
