"""The no-harm suite of a candidate: what its agent already answers well and must go on answering well.

Read from the ledger here, chosen in `rewards.suite`; all of it is of role `gate` and never trained on.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from ledger.events import CORRECTING, Kind, Role
from ledger.learning.event_queries import events_by_seq, interactions_named, usable
from ledger.schema import turn_events
from ledger.turn_states import TurnPart, in_part
from ledger.versions.lineage import Version, version
from rewards import suite as chosen
from serving.fleet.questions import Question


def suite_questions(connection: Connection, candidate: Version, *, limit: int) -> Sequence[Question]:
    """At most `limit` questions, the same for the same candidate and ledger."""
    champion = version(connection, candidate.agent, candidate.parent)
    through_seq = 0 if champion is None else champion.through_seq
    agent = candidate.agent
    approvals = usable(connection, agent, role=Role.GATE, kinds=(Kind.APPROVE,))
    by_role = {role: usable(connection, agent, role=role, kinds=CORRECTING) for role in Role}
    earlier = [kept for kept in by_role[Role.GATE] if kept.seq <= through_seq]
    later = [kept for kept in by_role[Role.GATE] if kept.seq > through_seq]
    in_turn = select(turn_events.c.event_seq).where(
        turn_events.c.turn_id == candidate.turn_id, in_part(TurnPart.NEW)
    )
    new = [*events_by_seq(connection, connection.scalars(in_turn)).values(), *later]
    corrections = [kept for group in by_role.values() for kept in group]
    named = {kept.event.interaction for kept in (*approvals, *corrections, *new) if kept.event.interaction}
    questions = chosen.suite(
        approvals=approvals,
        taught_gate=earlier,
        new=new,
        corrections=corrections,
        interactions=interactions_named(connection, named),
        seed=candidate.turn_id,
        questions_max=limit,
    )
    return [Question(event=one.uid, messages=one.messages, wanted=one.expected) for one in questions]
