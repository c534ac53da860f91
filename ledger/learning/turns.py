"""Turns: the part of one agent in a pass, and how a turn is closed.

A turn makes a version only if its lease, its parent and its events have not changed since it was opened
(`ledger.learning.passes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select, update

from ledger import leases
from ledger.database import Database, now_s
from ledger.errors import TurnVoid
from ledger.events import Status
from ledger.intake.withdrawn import changed_events
from ledger.learning.retries import Retry
from ledger.schema import events, interactions, passes, turn_events, turn_replies, turns, versions
from ledger.turn_states import EventOutcome, EventResult, TurnPart, TurnState, in_part, in_state
from ledger.versions.desired import champion
from ledger.versions.lineage import Version

REASON_CHARS_MAX = 200
"""Characters of a reason that are stored: the length of its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEvent:
    """One event's place in a turn."""

    seq: int
    part: TurnPart
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPlan:
    """The events one agent is to be taught and how, decided before the pass is opened."""

    agent: str
    parent: int
    recipe: Mapping[str, Any]
    labelling: Mapping[str, Any]  # what labels depend on besides the events: the baselines at that time
    seed: int
    attempt: int
    through_seq: int
    token: int  # fencing token of the agent's lease
    events: tuple[TurnEvent, ...]
    replies: tuple[str, ...] = ()  # ids of captured replies that nobody objected to, shown as anchors
    retry: Retry | None = None  # None: it is no other try after a refusal
    judged_seq: int | None = None  # `ledger.learning.judged`; None: `through_seq`


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A plan as it is stored in the ledger."""

    id: int
    pass_id: int
    number: int  # of the version it makes
    plan: TurnPlan
    is_open: bool = True  # no version made of it yet, and not dropped


def void_reason(connection: Connection, turn: Turn, token: int) -> str | None:
    """The reason why the turn can make no version any more; None while it can."""
    if not leases.holds(connection, lease_name(turn.plan.agent), token):
        return "lease lost"
    if champion(connection, turn.plan.agent) != turn.plan.parent:
        return "parent is no longer champion"
    if changed := changed_events(connection, turn.id):
        return f"{changed} events changed meanwhile"
    if forgotten := forgotten_replies(connection, turn.id):
        return f"{forgotten} captured replies were forgotten meanwhile"
    return None


def forgotten_replies(connection: Connection, turn_id: int) -> int:
    """How many of the captured replies that a turn was given have lost their texts since."""
    has_texts = exists().where(
        interactions.c.id == turn_replies.c.interaction, interactions.c.forgotten.is_(None)
    )
    query = select(func.count()).where(turn_replies.c.turn_id == turn_id, ~has_texts)
    return int(connection.scalar(query.select_from(turn_replies)) or 0)


def record_version(
    database: Database,
    turn: Turn,
    *,
    token: int,
    content_hash: str,
    base_hash: str,
    path: str,
    tokens: int,
    results: Mapping[int, EventResult],
) -> Version:
    """Make the trained directory a version, in one transaction. Raises `TurnVoid` if the turn is void.

    `tokens` is how many tokens it was trained on. `results` says of each new event (by seq) what became of
    it.
    """
    with database.write() as connection:
        if reason := void_reason(connection, turn, token):
            raise TurnVoid(reason)
        made_s = now_s(connection)
        row = {
            "agent": turn.plan.agent,
            "number": turn.number,
            "hash": content_hash,
            "base_hash": base_hash,
            "parent": turn.plan.parent,
            "turn_id": turn.id,
            "through_seq": turn.plan.through_seq,
            "path": path,
            "made_s": made_s,
        }
        connection.execute(insert(versions).values(**row))
        _settle(connection, turn, token, TurnState.MADE, None, tokens, results)
    return Version(
        agent=turn.plan.agent,
        number=turn.number,
        hash=content_hash,
        base_hash=base_hash,
        parent=turn.plan.parent,
        turn_id=turn.id,
        through_seq=turn.plan.through_seq,
        path=path,
        made_s=made_s,
    )


def drop_turn(
    database: Database,
    turn: Turn,
    *,
    token: int,
    reason: str,
    tokens: int,
    results: Mapping[int, EventResult],
) -> None:
    """Close a turn that made no version and cost `tokens`.

    Its events stay untaught, except those that teach nothing. The agent is due again when a new event
    arrives: the same events would make no version again.
    Raises `TurnVoid` if another learner has taken the turn over, or closed it.
    """
    with database.write() as connection:
        _settle(connection, turn, token, TurnState.DROPPED, reason[:REASON_CHARS_MAX], tokens, results)


def void_turn(database: Database, turn: Turn, *, token: int, reason: str) -> None:
    """Close a turn whose lease, parent or events changed. It costs nothing, and the agent is due at once.

    Raises `TurnVoid` if another learner has taken the turn over, or closed it.
    """
    with database.write() as connection:
        _settle(connection, turn, token, TurnState.VOID, reason[:REASON_CHARS_MAX], 0, {})


def lease_name(agent: str) -> str:
    """The name of an agent's learning lease."""
    return f"agent:{agent}"


def _settle(
    connection: Connection,
    turn: Turn,
    token: int,
    state: TurnState,
    reason: str | None,
    tokens: int,
    results: Mapping[int, EventResult],
) -> None:
    """Close the turn, store its cost and what became of its events, and close the pass with its last turn."""
    closed_s = now_s(connection)
    settled = connection.execute(
        update(turns)
        .where(turns.c.id == turn.id, in_state(TurnState.OPEN), turns.c.token == token)
        .values(state=state.value, reason=reason, tokens=tokens, closed_s=closed_s)
    )
    if settled.rowcount != 1:
        raise TurnVoid("closed, or taken over by another learner")
    for seq, result in results.items():
        connection.execute(
            update(turn_events)
            .where(turn_events.c.turn_id == turn.id, turn_events.c.event_seq == seq)
            .where(in_part(TurnPart.NEW))
            .values(outcome=result.outcome.value, outcome_reason=_cut(result.reason))
        )
        status = _STATUS_OF.get(result.outcome)
        if status is not None:
            connection.execute(
                update(events)
                .where(events.c.seq == seq, events.c.status == Status.OPEN.value)
                .values(status=status.value, status_reason=_cut(result.reason))
            )
    still_open = select(turns.c.id).where(turns.c.pass_id == turn.pass_id, in_state(TurnState.OPEN)).limit(1)
    if connection.scalar(still_open) is None:
        connection.execute(update(passes).where(passes.c.id == turn.pass_id).values(closed_s=closed_s))


_STATUS_OF = {EventOutcome.ALREADY_KNOWN: Status.KNOWN, EventOutcome.BARREN: Status.BARREN}


def _cut(reason: str | None) -> str | None:
    return None if reason is None else reason[:REASON_CHARS_MAX]
