"""Reads the events that a candidate is judged by: gate events, the events of its turn, the no-harm suite.

`serving.fleet.questions` makes prompts of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from ledger.events import CORRECTING, Interaction, KeptEvent, Kind, Role
from ledger.learning.event_queries import (
    events_by_seq,
    interactions_named,
    taught,
    unconfirmed,
    usable,
)
from ledger.learning.judged import judged_apart, judged_through
from ledger.learning.silent_replies import silent_replies
from ledger.schema import turn_events
from ledger.turn_states import TurnPart, in_part
from ledger.versions.lineage import BASE, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteMaterial:
    """Everything that the no-harm suite of a candidate is chosen from, oldest first in each group."""

    approvals: Sequence[KeptEvent]  # of role gate
    trained_approvals: Sequence[KeptEvent]  # of role train: never asked for
    replies: Sequence[Interaction]  # of role gate: captures that nobody objected to
    judged_before: Sequence[KeptEvent]  # gate corrections by which the champion or an ancestor was judged
    new: Sequence[KeptEvent]  # the new events of the candidate's turn, and the gate corrections since
    corrections: Sequence[KeptEvent]  # of every role
    interactions: dict[str, Interaction]  # that these events name


@dataclass(frozen=True, slots=True, kw_only=True)
class SupporterMaterial:
    """Everything that says who stands behind an agent's corrections (`rewards.supporters`)."""

    corrections: Sequence[KeptEvent]  # of every role, and takeovers; those that wait for another person too
    approvals: Sequence[KeptEvent]  # of role gate
    interactions: dict[str, Interaction]  # that these events name


def gate_corrections(connection: Connection, candidate: Version) -> list[KeptEvent]:
    """Gate corrections by which neither the champion nor an ancestor was judged, oldest first."""
    agent, parent = candidate.agent, candidate.parent
    later = usable(
        connection,
        agent,
        role=Role.GATE,
        kinds=CORRECTING,
        after_seq=judged_through(connection, agent, parent),
    )
    judged = judged_apart(connection, agent, parent)
    return [kept for kept in later if kept.event.uid not in judged]


def taught_events(connection: Connection, candidate: Version, *, limit: int | None = None) -> list[KeptEvent]:
    """The new events of the candidate's turn (the first `limit` by their place in it), oldest first."""
    assert candidate.number != BASE
    query = (
        select(turn_events.c.event_seq)
        .where(turn_events.c.turn_id == candidate.turn_id, in_part(TurnPart.NEW))
        .order_by(turn_events.c.place)
        .limit(limit)
    )
    events = events_by_seq(connection, connection.scalars(query).all())
    return [events[seq] for seq in sorted(events)]


def suite_material(connection: Connection, candidate: Version, *, settle_s: float) -> SuiteMaterial:
    """The events and captures that the candidate's no-harm suite is chosen from (`rewards.suite`).

    People had `settle_s` seconds to object to a captured reply.
    """
    agent, judged_seq = candidate.agent, judged_through(connection, candidate.agent, candidate.parent)
    apart = judged_apart(connection, agent, candidate.parent)
    approvals, trained_approvals = (
        usable(connection, agent, role=role, kinds=(Kind.APPROVE,)) for role in (Role.GATE, Role.TRAIN)
    )
    by_role = {role: usable(connection, agent, role=role, kinds=CORRECTING) for role in Role}
    judged_before = [kept for kept in by_role[Role.GATE] if kept.seq <= judged_seq or kept.event.uid in apart]
    later = [kept for kept in by_role[Role.GATE] if kept.seq > judged_seq and kept.event.uid not in apart]
    new = [*taught_events(connection, candidate), *later]
    corrections = [kept for group in by_role.values() for kept in group]
    named = [kept.event.interaction for kept in (*approvals, *trained_approvals, *corrections, *new)]
    return SuiteMaterial(
        approvals=approvals,
        trained_approvals=trained_approvals,
        replies=silent_replies(
            connection, agent, champion=candidate.parent, role=Role.GATE, settle_s=settle_s
        ),
        judged_before=judged_before,
        new=new,
        corrections=corrections,
        interactions=interactions_named(connection, filter(None, named)),
    )


def supporter_material(connection: Connection, agent: str) -> SupporterMaterial:
    """What people said about the agent, as far as it may stand behind a correction."""
    corrections = [
        *(kept for role in Role for kept in usable(connection, agent, role=role, kinds=CORRECTING)),
        *usable(connection, agent, role=Role.TRAIN, kinds=(Kind.TAKEOVER,)),
        *unconfirmed(connection, agent),
    ]
    approvals = usable(connection, agent, role=Role.GATE, kinds=(Kind.APPROVE,))
    named = [kept.event.interaction for kept in (*corrections, *approvals)]
    return SupporterMaterial(
        corrections=corrections,
        approvals=approvals,
        interactions=interactions_named(connection, filter(None, named)),
    )


def trained_events(connection: Connection, candidate: Version) -> list[KeptEvent]:
    """What the candidate was trained on, by its own turn or by the turns of the versions it comes from."""
    own = select(turn_events.c.event_seq).where(
        turn_events.c.turn_id == candidate.turn_id, turn_events.c.part != TurnPart.DEV.value
    )
    seqs = [*connection.scalars(own), *(kept.seq for kept in taught(connection, candidate.agent))]
    return list(events_by_seq(connection, seqs).values())
