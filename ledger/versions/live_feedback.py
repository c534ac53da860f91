"""What people said about an agent's answers lately, and about which conversations: signals of trouble."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from ledger.events import CORRECTING, Kind, Signal
from ledger.schema import events, interactions

_INTERVENTIONS = (Kind.TAKEOVER, Kind.ABORT, Kind.REJECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFeedback:
    """One event that says an answer was bad."""

    seq: int
    signal: Signal
    author: str
    received_s: float
    conversation: str | None  # the name by which the gateway chose the version; None where it is not known
    version: str | None  # that answered, as in v7-3fa2c1; None where the answer was not captured
    answered_s: float | None  # when the ledger got the answer


def live_feedback(connection: Connection, agent: str, *, after_seq: int) -> list[LiveFeedback]:
    """Events of the agent after that one which say that an answer was bad, oldest first.

    A gateway that is given no conversation takes the interaction's id for it, and so does this.
    """
    query = (
        select(
            events,
            interactions.c.id.label("captured"),
            interactions.c.conversation.label("captured_conversation"),
            interactions.c.version.label("captured_version"),
            interactions.c.received_s.label("answered_s"),
        )
        .outerjoin(interactions, interactions.c.id == events.c.interaction)
        .where(
            events.c.seq > after_seq,
            events.c.agent == agent,
            events.c.kind.in_([kind.value for kind in (*CORRECTING, *_INTERVENTIONS, Kind.OUTCOME)]),
        )
        .order_by(events.c.seq)
    )
    return [
        LiveFeedback(
            seq=row.seq,
            signal=_signal(Kind(row.kind)),
            author=row.author,
            received_s=row.received_s,
            conversation=row.captured_conversation or row.captured or row.conversation or row.interaction,
            version=row.captured_version,
            answered_s=row.answered_s,
        )
        for row in connection.execute(query)
        if row.kind != Kind.OUTCOME.value or row.data["value"] < 0
    ]


def _signal(kind: Kind) -> Signal:
    if kind in CORRECTING:
        return Signal.CORRECTION
    return Signal.OUTCOME if kind is Kind.OUTCOME else Signal.INTERVENTION
