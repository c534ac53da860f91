"""Reads each agent's last turn and what was decided about its version, and what followed a refusal."""

from collections import defaultdict

from sqlalchemy import Connection, Select, Subquery, func, select

from ledger.learning.retries import LastTry, Retry, retry_from
from ledger.schema import decisions, turn_events, turns, versions
from ledger.turn_states import TurnPart, TurnState, in_part
from ledger.versions.causes import Cause, causes_of
from ledger.versions.decisions import Verdict

_Decided = tuple[Verdict, str, frozenset[Cause]]
"""The last decision about a version, who took it, and the causes if it is a refusal or an abstention."""

_TurnIds = Select[tuple[int]]
"""A query for turns by id: what is known of all of them is read at once, however many there are."""


def last_tries(connection: Connection, agent: str | None = None) -> dict[str, LastTry]:
    """The last try of every agent (or of one) that had a turn, by name."""
    trained = turns.c.state.in_([TurnState.MADE.value, TurnState.DROPPED.value])
    newest = select(func.max(turns.c.id).label("id")).where(trained).group_by(turns.c.agent)
    if agent is not None:
        newest = newest.where(turns.c.agent == agent)
    columns = (turns.c.id, turns.c.agent, turns.c.number, turns.c.parent, turns.c.through_seq, turns.c.retry)
    rows = connection.execute(select(*columns).where(turns.c.id.in_(newest))).all()
    decided, new = _decided(connection, newest), _new_events(connection, newest)
    tries = {}
    for row in rows:
        verdict, by, causes = decided.get(row.id, (None, "", frozenset()))
        tries[row.agent] = LastTry(
            number=row.number,
            parent=row.parent,
            through_seq=row.through_seq,
            retry=retry_from(row.retry),
            new=tuple(new.get(row.id, ())),
            verdict=verdict,
            by=by,
            causes=causes,
        )
    return tries


def retry_of(connection: Connection, turn_id: int) -> Retry | None:
    """Why the turn is another try; None where it is none."""
    return retry_from(connection.scalar(select(turns.c.retry).where(turns.c.id == turn_id)))


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


def _new_events(connection: Connection, turn_ids: _TurnIds) -> dict[int, list[int]]:
    """The new events of each of these turns whose version does not serve, in their order there."""
    last = _last_decisions(turn_ids)
    promoted = select(last.c.turn_id).join(decisions, decisions.c.id == last.c.id)
    query = select(turn_events.c.turn_id, turn_events.c.event_seq).where(
        turn_events.c.turn_id.in_(turn_ids),
        turn_events.c.turn_id.not_in(promoted.where(decisions.c.kind == Verdict.PROMOTE.value)),
        in_part(TurnPart.NEW),
    )
    new: dict[int, list[int]] = defaultdict(list)
    for turn_id, seq in connection.execute(query.order_by(turn_events.c.turn_id, turn_events.c.place)):
        new[turn_id].append(seq)
    return new


def _decided(connection: Connection, turn_ids: _TurnIds) -> dict[int, _Decided]:
    """What was decided last about the version of each of these turns that has one."""
    last = _last_decisions(turn_ids)
    columns = (last.c.turn_id, decisions.c.kind, decisions.c.by)
    # the reasons alone: the answers beside them in the evidence are long
    query = select(*columns, decisions.c.evidence["reasons"].label("reasons"))
    decided = {}
    for row in connection.execute(query.join(last, last.c.id == decisions.c.id)):
        has_causes = row.kind in (Verdict.REFUSE.value, Verdict.ABSTAIN.value)
        reasons = (row.reasons or ()) if has_causes else ()
        decided[row.turn_id] = (Verdict(row.kind), row.by, causes_of(map(str, reasons)))
    return decided


def _last_decisions(turn_ids: _TurnIds) -> Subquery:
    """(turn_id, id) of the last decision about the version of each of these turns; `KEEP` is none."""
    about = (decisions.c.agent == versions.c.agent) & (decisions.c.number == versions.c.number)
    return (
        select(versions.c.turn_id, func.max(decisions.c.id).label("id"))
        .join(decisions, about)
        .where(versions.c.turn_id.in_(turn_ids), decisions.c.kind != Verdict.KEEP.value)
        .group_by(versions.c.turn_id)
        .subquery()
    )
