"""What an agent tries after a refused candidate: derived from its last turn and the decision about it.

Only turns and decisions are stored, so a learner that dies between two turns is followed by one that plans
the same. Every try counts for the gate as the one before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, select

from ledger.database import in_chunks
from ledger.schema import decisions, turns, versions
from ledger.turn_states import TurnState
from ledger.versions.causes import DID_HARM, FELL_SHORT, Cause, causes_of
from ledger.versions.decisions import Verdict
from ledger.versions.desired import champion

GATE = "gate"
"""Who took a decision that a retry may follow. What a person refused waits for something new."""


class Remedy(StrEnum):
    """What a retry does otherwise than the turn before it."""

    LONGER = "longer"
    ANCHORS = "anchors"


_WORDS: Mapping[Remedy, str] = {
    Remedy.LONGER: "with twice as many steps",
    Remedy.ANCHORS: "with more replies that must stay as they are, near misses first",
}

_REMEDIES = ((DID_HARM, Remedy.ANCHORS), (FELL_SHORT, Remedy.LONGER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Why a turn is another try, as it is stored in the turn's row."""

    after: int  # number of the refused version that it follows
    remedies: tuple[Remedy, ...]  # since the last turn that was no retry, in the order they were added

    @property
    def text(self) -> str:
        """The retry in words."""
        return ", ".join((f"another try after v{self.after}", *(_WORDS[remedy] for remedy in self.remedies)))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"after": self.after, "remedies": [remedy.value for remedy in self.remedies]}


def retry_from(stored: Mapping[str, Any] | None) -> Retry | None:
    """The retry in a row of `turns`; None where the turn was none."""
    if stored is None:
        return None
    return Retry(after=stored["after"], remedies=tuple(map(Remedy, stored["remedies"])))


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTry:
    """An agent's last turn that was trained, and what was decided about its version."""

    number: int  # of the version that the turn made, or would have made
    parent: int
    retry: Retry | None
    verdict: Verdict | None  # None: it made no version, or is undecided
    by: str = ""
    causes: frozenset[Cause] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTry:
    """How the next turn differs from a first try."""

    retry: Retry | None = None
    at_once: bool = False  # it needs nothing new, only enough evidence

    @property
    def text(self) -> str:
        """What comes next, in words."""
        if not self.at_once:
            return "a turn once there is something new"
        assert self.retry is not None
        return self.retry.text


def next_try(last: LastTry | None, *, champion: int, refusals_max: int) -> NextTry:
    """What follows the last try: a remedy for the cause of its refusal, each at most once.

    At most `refusals_max` candidates in a row are tried without anything new.
    """
    if last is None or last.verdict is Verdict.PROMOTE or last.parent != champion:
        return NextTry()
    if last.verdict is not Verdict.REFUSE or last.by != GATE:
        return NextTry(retry=last.retry)
    tried = () if last.retry is None else last.retry.remedies
    wanted = (remedy for causes, remedy in _REMEDIES if causes & last.causes and remedy not in tried)
    remedy = next(wanted, None)
    if remedy is None or len(tried) + 1 >= refusals_max:
        return NextTry(retry=last.retry)
    return NextTry(retry=Retry(after=last.number, remedies=(*tried, remedy)), at_once=True)


def last_tries(connection: Connection, agent: str | None = None) -> dict[str, LastTry]:
    """The last try of every agent (or of one) that had a turn, by name."""
    trained = turns.c.state.in_([TurnState.MADE.value, TurnState.DROPPED.value])
    newest = select(func.max(turns.c.id).label("id")).where(trained).group_by(turns.c.agent)
    if agent is not None:
        newest = newest.where(turns.c.agent == agent)
    query = select(turns.c.agent, turns.c.number, turns.c.parent, turns.c.retry, versions.c.turn_id)
    query = query.outerjoin(versions, versions.c.turn_id == turns.c.id)
    rows = connection.execute(query.where(turns.c.id.in_(newest))).all()
    decided = _decided(connection, [row.turn_id for row in rows if row.turn_id is not None])
    tries = {}
    for row in rows:
        verdict, by, causes = decided.get(row.turn_id, (None, "", frozenset()))
        tries[row.agent] = LastTry(
            number=row.number,
            parent=row.parent,
            retry=retry_from(row.retry),
            verdict=verdict,
            by=by,
            causes=causes,
        )
    return tries


def follower(connection: Connection, agent: str, number: int) -> tuple[int, Retry] | None:
    """The number and the retry of the first turn that followed the version's refusal; None: there is none."""
    query = select(turns.c.number, turns.c.retry).where(
        turns.c.agent == agent, turns.c.number > number, turns.c.retry.is_not(None)
    )
    for later, stored in connection.execute(query.order_by(turns.c.number)):
        retry = retry_from(stored)
        if retry is not None and retry.after == number:
            return later, retry
    return None


def what_follows(connection: Connection, agent: str, number: int, *, refusals_max: int) -> str | None:
    """What came or comes after the refused version, in words; None if nothing follows from its refusal."""
    if (later := follower(connection, agent, number)) is not None:
        return f"v{later[0]}, {later[1].text}"
    last = last_tries(connection, agent).get(agent)
    if last is None or last.number != number or last.verdict is not Verdict.REFUSE:
        return None
    return upcoming_try(connection, agent, refusals_max=refusals_max).text


def upcoming_try(connection: Connection, agent: str, *, refusals_max: int) -> NextTry:
    """How the agent's next turn differs from a first try."""
    last = last_tries(connection, agent).get(agent)
    return next_try(last, champion=champion(connection, agent), refusals_max=refusals_max)


def _decided(
    connection: Connection, turn_ids: Sequence[int]
) -> dict[int, tuple[Verdict, str, frozenset[Cause]]]:
    """The last decision about the version of each turn, who took it, and the causes if it is a refusal."""
    decided = {}
    for ids in in_chunks(turn_ids):
        about = (decisions.c.agent == versions.c.agent) & (decisions.c.number == versions.c.number)
        newest = (
            select(versions.c.turn_id, func.max(decisions.c.id).label("id"))
            .join(decisions, about)
            .where(versions.c.turn_id.in_(ids))
            .group_by(versions.c.turn_id)
            .subquery()
        )
        query = select(newest.c.turn_id, decisions.c.id, decisions.c.kind, decisions.c.by)
        for row in connection.execute(query.join(newest, newest.c.id == decisions.c.id)).all():
            reasons = _reasons(connection, row.id) if row.kind == Verdict.REFUSE.value else ()
            decided[row.turn_id] = (Verdict(row.kind), row.by, causes_of(reasons))
    return decided


def _reasons(connection: Connection, decision_id: int) -> Iterable[str]:
    """The reasons alone: the answers beside them in the evidence are long."""
    query = select(decisions.c.evidence["reasons"]).where(decisions.c.id == decision_id)
    return map(str, connection.scalar(query) or ())
