"""Reads the outcomes that arrived while a canary had a share, and which conversation each is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, func, select

from ledger.events import Kind, Status
from ledger.intake.ownership import JUDGE_RIGHT
from ledger.intake.withdrawn import GONE
from ledger.schema import events, interactions
from ledger.versions.live_feedback import ConversationAnswers, answers_in, is_about_feedback


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOutcome:
    """One outcome that stands: it was neither replaced nor retracted."""

    seq: int
    value: float  # in [-1, 1]
    author: str
    is_trusted: bool  # its author's word needs nobody else's: a verifier, an environment, a lead
    received_s: float
    conversation: str | None  # the name by which the gateway chose the version; None where it is not known
    version: str | None  # that answered, as in v7-3fa2c1; None where the answer was not captured
    answered_s: float | None  # when the ledger got the answer


def live_outcomes(connection: Connection, agent: str, *, after_seq: int) -> list[LiveOutcome]:
    """The agent's outcomes after that event, oldest first. It reads the state as of now.

    An outcome that amends a person's feedback says whether that lasted, not how the agent did, and is left
    out. One that amends an outcome takes its conversation where it names none. A gateway that is given no
    conversation takes the interaction's id for it, and so does this.
    """
    rows = connection.execute(_standing(agent, after_seq)).all()
    named = {row.key: row for row in connection.execute(_amended(agent, after_seq)) if row.key is not None}
    alone = (row.conversation for row in (*rows, *named.values()) if row.interaction is None)
    answers = answers_in(connection, agent, filter(None, alone))
    return [_outcome(row, named, answers) for row in rows]


def outcomes_stamp(connection: Connection, agent: str) -> tuple[int, int]:
    """While these numbers stay the same, so do the agent's outcomes, but for what people restore. Cheap."""
    of_agent = events.c.agent == agent
    waiting = (events.c.status == Status.WAITING.value, events.c.kind == Kind.OUTCOME.value)
    newest = select(events.c.seq).where(of_agent).order_by(events.c.seq.desc()).limit(1)
    return (
        int(connection.scalar(newest) or 0),
        int(connection.scalar(select(func.count()).select_from(events).where(of_agent, *waiting)) or 0),
    )


def _joined() -> Select[Any]:
    return select(
        events,
        interactions.c.id.label("captured"),
        interactions.c.conversation.label("captured_conversation"),
        interactions.c.version.label("captured_version"),
        interactions.c.received_s.label("answered_s"),
    ).outerjoin(interactions, interactions.c.id == events.c.interaction)


def _standing(agent: str, after_seq: int) -> Select[Any]:
    return (
        _joined()
        .where(
            events.c.seq > after_seq,
            events.c.agent == agent,
            events.c.kind == Kind.OUTCOME.value,
            events.c.status.not_in(GONE),
            ~is_about_feedback(),
        )
        .order_by(events.c.seq)
    )


def _amended(agent: str, after_seq: int) -> Select[Any]:
    """Outcomes that later ones amend, by which those are known to be about a conversation."""
    later = events.alias("later")
    is_amended = exists().where(
        later.c.agent == events.c.agent,
        later.c.amends == events.c.key,
        later.c.kind == Kind.OUTCOME.value,
        later.c.seq > after_seq,
    )
    of_outcomes = (events.c.agent == agent, events.c.kind == Kind.OUTCOME.value, events.c.key.is_not(None))
    return _joined().where(*of_outcomes, is_amended).order_by(events.c.seq)


def _outcome(
    row: Row[Any], named: Mapping[str, Row[Any]], answers: Mapping[str, ConversationAnswers]
) -> LiveOutcome:
    about = row
    if _conversation(row) is None and row.amends is not None:
        about = named.get(row.amends, row)
    answer = answers.get(about.conversation) if about.interaction is None else None
    return LiveOutcome(
        seq=row.seq,
        value=float(row.data["value"]),
        author=row.author,
        is_trusted=JUDGE_RIGHT in row.rights,
        received_s=row.received_s,
        conversation=_conversation(about),
        version=about.captured_version if answer is None else answer.version,
        answered_s=about.answered_s if answer is None else answer.answered_s,
    )


def _conversation(row: Row[Any]) -> str | None:
    name = row.captured_conversation or row.captured or row.conversation or row.interaction
    return None if name is None else str(name)
