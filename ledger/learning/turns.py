"""Turns and passes: an agent's chance to learn, written down before anything is trained.

Opening a pass fixes what is trained on what; closing it makes versions, each only if the world the turn
was opened in still stands. A pass that was opened and never closed is resumed exactly as written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ledger import leases
from ledger.database import Database, now_s
from ledger.errors import TurnVoid
from ledger.events import Status
from ledger.intake.withdrawn import changed_events
from ledger.schema import events, passes, turn_events, turns, versions
from ledger.turn_states import EventOutcome, EventResult, TurnPart, TurnState, in_part, in_state
from ledger.versions.desired import champion
from ledger.versions.lineage import Version

REASON_CHARS_MAX = 200
"""Of a reason, as the columns are long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEvent:
    """One event's place in a turn."""

    seq: int
    part: TurnPart
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPlan:
    """What one agent is to be taught, decided before the pass is opened."""

    agent: str
    parent: int
    recipe: Mapping[str, Any]
    labelling: Mapping[str, Any]  # what labels depend on besides the events: baselines, as they were
    seed: int
    attempt: int
    through_seq: int
    token: int  # fencing token of the agent's lease
    events: tuple[TurnEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A plan with its place in the ledger."""

    id: int
    pass_id: int
    number: int  # of the version it makes
    plan: TurnPlan
    is_open: bool = True  # no version made of it yet, and not dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Turns trained together. `form` is what must be equal for the hashes to be equal."""

    id: int
    form: Mapping[str, Any]
    turns: tuple[Turn, ...]


def open_pass(
    database: Database,
    plans: Sequence[TurnPlan],
    *,
    holder: str,
    form: Mapping[str, Any],
    virtual_time: float = 0.0,
) -> Pass:
    """Write the pass and its turns. Raises `TurnVoid` if a lease was lost meanwhile.

    `virtual_time` says where those who were due stand in sharing (`ledger.learning.usage`).
    It is no part of the form.
    """
    with database.write() as connection:
        for plan in plans:
            _still_ours(connection, plan.agent, plan.token)
        opened = connection.execute(
            insert(passes).values(
                holder=holder, form=dict(form), virtual_time=virtual_time, opened_s=now_s(connection)
            )
        )
        pass_id = _new_id(opened.inserted_primary_key)
        written = tuple(_write_turn(connection, pass_id, place, plan) for place, plan in enumerate(plans))
    return Pass(id=pass_id, form=form, turns=written)


def read_pass(connection: Connection, pass_id: int) -> Pass | None:
    """One pass with its turns as they were written."""
    found = connection.execute(select(passes).where(passes.c.id == pass_id)).one_or_none()
    if found is None:
        return None
    rows = connection.execute(select(turns).where(turns.c.pass_id == pass_id).order_by(turns.c.place)).all()
    return Pass(id=pass_id, form=found.form, turns=tuple(_turn(connection, row) for row in rows))


def unfinished_passes(connection: Connection) -> list[Pass]:
    """Passes that were opened and not closed, oldest first."""
    ids = connection.scalars(select(passes.c.id).where(passes.c.closed_s.is_(None)).order_by(passes.c.id))
    found = [read_pass(connection, pass_id) for pass_id in ids.all()]
    return [one for one in found if one is not None]


def adopt_pass(database: Database, unfinished: Pass, tokens: Mapping[str, int]) -> None:
    """Take over a pass somebody else opened: its turns carry our fencing tokens from now on."""
    with database.write() as connection:
        for turn in (turn for turn in unfinished.turns if turn.is_open):
            token = tokens[turn.plan.agent]
            _still_ours(connection, turn.plan.agent, token)
            connection.execute(update(turns).where(turns.c.id == turn.id).values(token=token))


def void_reason(connection: Connection, turn: Turn, token: int) -> str | None:
    """Why the turn's work can no longer become a version; None while it can."""
    if not leases.holds(connection, lease_name(turn.plan.agent), token):
        return "lease lost"
    if champion(connection, turn.plan.agent) != turn.plan.parent:
        return "parent is no longer champion"
    if changed := changed_events(connection, turn.id):
        return f"{changed} events changed meanwhile"
    return None


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
    """Make the trained directory a version, in one transaction. Raises `TurnVoid` if it must be dropped.

    `tokens` is what the turn was trained on. `results` says of each new event (by seq) what became of it.
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
    """Close a turn that made nothing, and cost `tokens` all the same.

    Its events stay untaught, but for those that teach nothing. The agent is due again when something new
    arrives: the same events would make nothing again.
    Raises `TurnVoid` where somebody else has taken the turn over, or closed it.
    """
    with database.write() as connection:
        _settle(connection, turn, token, TurnState.DROPPED, reason[:REASON_CHARS_MAX], tokens, results)


def void_turn(database: Database, turn: Turn, *, token: int, reason: str) -> None:
    """Close a turn whose world changed under it; it costs nothing. The agent is due again at once.

    Raises `TurnVoid` where somebody else has taken the turn over, or closed it.
    """
    with database.write() as connection:
        _settle(connection, turn, token, TurnState.VOID, reason[:REASON_CHARS_MAX], 0, {})


def lease_name(agent: str) -> str:
    """The name of an agent's learning lease."""
    return f"agent:{agent}"


def _write_turn(connection: Connection, pass_id: int, place: int, plan: TurnPlan) -> Turn:
    used = select(func.max(turns.c.number)).where(turns.c.agent == plan.agent)
    number = int(connection.scalar(used) or 0) + 1  # numbers are never used twice, dropped turns included
    inserted = connection.execute(
        insert(turns).values(
            pass_id=pass_id,
            place=place,
            agent=plan.agent,
            number=number,
            parent=plan.parent,
            recipe=dict(plan.recipe),
            labelling=dict(plan.labelling),
            seed=plan.seed,
            attempt=plan.attempt,
            through_seq=plan.through_seq,
            token=plan.token,
            state=TurnState.OPEN.value,
        )
    )
    turn_id = _new_id(inserted.inserted_primary_key)
    rows = [
        {
            "turn_id": turn_id,
            "event_seq": one.seq,
            "part": one.part.value,
            "place": order,
            "revision": one.revision,
        }
        for order, one in enumerate(plan.events)
    ]
    connection.execute(insert(turn_events), rows)
    return Turn(id=turn_id, pass_id=pass_id, number=number, plan=plan)


def _turn(connection: Connection, row: Any) -> Turn:
    members = connection.execute(
        select(turn_events).where(turn_events.c.turn_id == row.id).order_by(turn_events.c.place)
    )
    plan = TurnPlan(
        agent=row.agent,
        parent=row.parent,
        recipe=row.recipe,
        labelling=row.labelling,
        seed=row.seed,
        attempt=row.attempt,
        through_seq=row.through_seq,
        token=row.token,
        events=tuple(
            TurnEvent(seq=one.event_seq, part=TurnPart(one.part), revision=one.revision) for one in members
        ),
    )
    return Turn(
        id=row.id, pass_id=row.pass_id, number=row.number, plan=plan, is_open=row.state == TurnState.OPEN
    )


def _settle(
    connection: Connection,
    turn: Turn,
    token: int,
    state: TurnState,
    reason: str | None,
    tokens: int,
    results: Mapping[int, EventResult],
) -> None:
    """Close the turn, with what it cost and what became of its events, and the pass with its last turn."""
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


def _still_ours(connection: Connection, agent: str, token: int) -> None:
    if not leases.holds(connection, lease_name(agent), token):
        raise TurnVoid(f"the lease of {agent} was lost")


def _new_id(key: Any) -> int:
    assert key is not None, "a serial key is always returned"
    return int(key[0])
