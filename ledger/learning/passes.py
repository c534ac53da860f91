"""Passes: turns that are trained together, stored before training starts.

`open_pass` fixes which events each turn trains on. A learner resumes a pass that was never closed exactly as
it is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ledger import leases
from ledger.database import Database, now_s
from ledger.errors import TurnVoid
from ledger.learning.retries import retry_from
from ledger.learning.turns import Turn, TurnEvent, TurnPlan, lease_name
from ledger.schema import passes, turn_events, turn_replies, turns
from ledger.turn_states import TurnPart, TurnState


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Turns that are trained together. Two passes with equal `form` and turns give equal hashes."""

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
    """Store the pass and its turns. Raises `TurnVoid` if a lease was lost meanwhile.

    `virtual_time` is the virtual time of the agents that were due (`ledger.learning.usage`), in tokens
    divided by weight. It is no part of the form.
    """
    with database.write() as connection:
        for plan in plans:
            _require_lease(connection, plan.agent, plan.token)
        opened = connection.execute(
            insert(passes).values(
                holder=holder, form=dict(form), virtual_time=virtual_time, opened_s=now_s(connection)
            )
        )
        pass_id = _new_id(opened.inserted_primary_key)
        written = tuple(_write_turn(connection, pass_id, place, plan) for place, plan in enumerate(plans))
    return Pass(id=pass_id, form=form, turns=written)


def read_pass(connection: Connection, pass_id: int) -> Pass | None:
    """One pass with its turns as they are stored; None if there is no such pass."""
    row = connection.execute(select(passes).where(passes.c.id == pass_id)).one_or_none()
    if row is None:
        return None
    members = connection.execute(
        select(turns).where(turns.c.pass_id == pass_id).order_by(turns.c.place)
    ).all()
    return Pass(id=pass_id, form=row.form, turns=tuple(_turn(connection, member) for member in members))


def unfinished_passes(connection: Connection) -> list[Pass]:
    """Passes that were opened and not closed, oldest first."""
    ids = connection.scalars(select(passes.c.id).where(passes.c.closed_s.is_(None)).order_by(passes.c.id))
    unfinished = (read_pass(connection, pass_id) for pass_id in ids.all())
    return [opened for opened in unfinished if opened is not None]


def adopt_pass(database: Database, unfinished: Pass, tokens: Mapping[str, int]) -> None:
    """Take over a pass that another learner opened: its open turns get these fencing tokens.

    Raises `TurnVoid` if a lease was lost meanwhile.
    """
    with database.write() as connection:
        for turn in (turn for turn in unfinished.turns if turn.is_open):
            token = tokens[turn.plan.agent]
            _require_lease(connection, turn.plan.agent, token)
            connection.execute(update(turns).where(turns.c.id == turn.id).values(token=token))


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
            retry=None if plan.retry is None else plan.retry.to_json(),
            judged_seq=plan.judged_seq,
        )
    )
    turn_id = _new_id(inserted.inserted_primary_key)
    rows = [
        {
            "turn_id": turn_id,
            "event_seq": event.seq,
            "part": event.part.value,
            "place": event_place,
            "revision": event.revision,
        }
        for event_place, event in enumerate(plan.events)
    ]
    connection.execute(insert(turn_events), rows)
    if plan.replies:
        replies = [
            {"turn_id": turn_id, "interaction": reply, "place": reply_place}
            for reply_place, reply in enumerate(plan.replies)
        ]
        connection.execute(insert(turn_replies), replies)
    return Turn(id=turn_id, pass_id=pass_id, number=number, plan=plan)


def _turn(connection: Connection, row: Any) -> Turn:
    members = connection.execute(
        select(turn_events).where(turn_events.c.turn_id == row.id).order_by(turn_events.c.place)
    )
    replies = select(turn_replies.c.interaction).where(turn_replies.c.turn_id == row.id)
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
            TurnEvent(seq=member.event_seq, part=TurnPart(member.part), revision=member.revision)
            for member in members
        ),
        replies=tuple(connection.scalars(replies.order_by(turn_replies.c.place))),
        retry=retry_from(row.retry),
        judged_seq=row.judged_seq,
    )
    return Turn(
        id=row.id, pass_id=row.pass_id, number=row.number, plan=plan, is_open=row.state == TurnState.OPEN
    )


def _require_lease(connection: Connection, agent: str, token: int) -> None:
    if not leases.holds(connection, lease_name(agent), token):
        raise TurnVoid(f"the lease of {agent} was lost")


def _new_id(key: Any) -> int:
    assert key is not None, "a serial key is always returned"
    return int(key[0])
