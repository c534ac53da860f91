"""What learners did: passes with their turns, newest first, and failed turns with what followed them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from ledger.database import in_chunks
from ledger.learning.last_tries import follower
from ledger.learning.retries import retry_from
from ledger.reports.history.agent_timeline import FAILURES
from ledger.schema import decisions, passes, turn_events, turns, versions
from ledger.turn_states import TurnState
from ledger.versions.decisions import Verdict
from ledger.versions.lineage import version_name

_WITHOUT_VERSION = (TurnState.DROPPED.value, TurnState.VOID.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTurn:
    """One agent's turn in a pass, and what was decided about its version."""

    turn_id: int
    pass_id: int
    agent: str
    number: int  # of the version that it makes
    version: str | None  # None: it made none
    state: TurnState
    reason: str | None  # why it made none
    tokens: int  # that it was trained on; 0 while it is open, and if it was void
    opened_s: float
    closed_s: float | None
    parts: Mapping[str, int]  # its events by `ledger.turn_states.TurnPart`
    retry: str | None  # why it is another try, and what it does otherwise
    verdict: Verdict | None  # the last about its version
    reasons: tuple[str, ...]  # of that verdict
    followed_by: str | None = None  # the try that followed a failed one, in words

    @property
    def failed(self) -> bool:
        """Whether it made no version, or one that does not serve."""
        return self.state.value in _WITHOUT_VERSION or self.verdict in FAILURES

    def to_json(self) -> dict[str, Any]:
        """The turn for programs."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassWork:
    """One pass: turns that are trained together on one device."""

    pass_id: int
    holder: str  # the learner that opened it
    opened_s: float
    closed_s: float | None  # None: it is being trained, or waits for a learner to resume it
    form: Mapping[str, Any]  # the device and the sizes that it is computed with
    turns: tuple[PassTurn, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all its turns."""
        return sum(turn.tokens for turn in self.turns)

    @property
    def made(self) -> int:
        """How many versions it made."""
        return sum(turn.version is not None for turn in self.turns)

    def seconds(self, now_s: float) -> float:
        """From its opening to its end, or until now."""
        return max(0.0, (now_s if self.closed_s is None else self.closed_s) - self.opened_s)

    def to_json(self, now_s: float) -> dict[str, Any]:
        """The pass for programs."""
        return {
            "pass": self.pass_id,
            "holder": self.holder,
            "opened_s": self.opened_s,
            "closed_s": self.closed_s,
            "seconds": round(self.seconds(now_s), 3),
            "tokens": self.tokens,
            "made": self.made,
            "form": dict(self.form),
            "turns": [turn.to_json() for turn in self.turns],
        }


def pass_list(
    connection: Connection,
    *,
    limit: int,
    before: int | None = None,
    pass_id: int | None = None,
    agents: Collection[str] | None = None,
) -> list[PassWork]:
    """At most `limit` passes, newest first: those before one, that one alone, those with turns of these
    agents. Of agents that were not asked for, no turn is shown."""
    query = select(passes).order_by(passes.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(passes.c.id < before)
    if pass_id is not None:
        query = query.where(passes.c.id == pass_id)
    if agents is not None:
        query = query.where(passes.c.id.in_(select(turns.c.pass_id).where(turns.c.agent.in_(agents))))
    rows = connection.execute(query).all()
    members = _turn_query().where(turns.c.pass_id.in_([row.id for row in rows]))
    if agents is not None:
        members = members.where(turns.c.agent.in_(agents))
    by_pass: dict[int, list[PassTurn]] = defaultdict(list)
    for turn in _read_turns(connection, members.order_by(turns.c.pass_id, turns.c.place)):
        by_pass[turn.pass_id].append(turn)
    return [
        PassWork(
            pass_id=row.id,
            holder=row.holder,
            opened_s=row.opened_s,
            closed_s=row.closed_s,
            form=row.form,
            turns=tuple(by_pass[row.id]),
        )
        for row in rows
    ]


def failed_turns(
    connection: Connection,
    *,
    limit: int,
    before: int | None = None,
    agents: Collection[str] | None = None,
) -> list[PassTurn]:
    """At most `limit` turns that made no version, or one that was refused, not decided or rolled back.

    The newest comes first; with `before`, only turns with a smaller number.
    """
    query = _turn_query().where(or_(turns.c.state.in_(_WITHOUT_VERSION), _was_turned_down()))
    if before is not None:
        query = query.where(turns.c.id < before)
    if agents is not None:
        query = query.where(turns.c.agent.in_(agents))
    failed = _read_turns(connection, query.order_by(turns.c.id.desc()).limit(limit))
    return [_with_follower(connection, turn) for turn in failed]


def _turn_query() -> Select[Any]:
    return (
        select(turns, passes.c.opened_s, versions.c.hash)
        .join(passes, passes.c.id == turns.c.pass_id)
        .outerjoin(versions, versions.c.turn_id == turns.c.id)
    )


def _was_turned_down() -> ColumnElement[bool]:
    """Whether any decision about the turn's version is one of `FAILURES`."""
    return (
        select(decisions.c.id)
        .where(
            decisions.c.agent == turns.c.agent,
            decisions.c.number == turns.c.number,
            decisions.c.kind.in_([verdict.value for verdict in FAILURES]),
        )
        .exists()
    )


def _read_turns(connection: Connection, query: Select[Any]) -> list[PassTurn]:
    rows = connection.execute(query).all()
    turn_ids = [row.id for row in rows]
    parts, verdicts = _parts(connection, turn_ids), _verdicts(connection, turn_ids)
    return [
        PassTurn(
            turn_id=row.id,
            pass_id=row.pass_id,
            agent=row.agent,
            number=row.number,
            version=None if row.hash is None else version_name(row.number, row.hash),
            state=TurnState(row.state),
            reason=row.reason,
            tokens=int(row.tokens),
            opened_s=row.opened_s,
            closed_s=row.closed_s,
            parts=parts.get(row.id, {}),
            retry=_retry_text(row.retry),
            verdict=verdicts.get(row.id, (None, ()))[0],
            reasons=verdicts.get(row.id, (None, ()))[1],
        )
        for row in rows
    ]


def _parts(connection: Connection, turn_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """By turn, how many events it has of each part."""
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for chunk in in_chunks(turn_ids):
        query = (
            select(turn_events.c.turn_id, turn_events.c.part, func.count())
            .where(turn_events.c.turn_id.in_(chunk))
            .group_by(turn_events.c.turn_id, turn_events.c.part)
        )
        for turn_id, part, number in connection.execute(query):
            counts[turn_id][part] = int(number)
    return counts


def _verdicts(connection: Connection, turn_ids: Sequence[int]) -> dict[int, tuple[Verdict, tuple[str, ...]]]:
    """By turn, the last decision about its version, with the reasons; those that kept it are left out."""
    about = (decisions.c.agent == versions.c.agent) & (decisions.c.number == versions.c.number)
    reasons = decisions.c.evidence["reasons"].label("reasons")
    verdicts = {}
    for chunk in in_chunks(turn_ids):
        query = (
            select(versions.c.turn_id, decisions.c.kind, reasons)
            .join(versions, about)
            .where(versions.c.turn_id.in_(chunk), decisions.c.kind != Verdict.KEEP.value)
            .order_by(decisions.c.id)
        )
        for row in connection.execute(query):
            verdicts[row.turn_id] = (Verdict(row.kind), tuple(map(str, row.reasons or ())))
    return verdicts


def _with_follower(connection: Connection, turn: PassTurn) -> PassTurn:
    followed = follower(connection, turn.agent, turn.number)
    if followed is None:
        return turn
    number, retry = followed
    return replace(turn, followed_by=f"v{number}: {retry.text}")


def _retry_text(stored: Mapping[str, Any] | None) -> str | None:
    retry = retry_from(stored)
    return None if retry is None else retry.text
