"""What people said about an agent's answers lately, and about which conversations: signals of trouble."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, exists, false, func, or_, select

from ledger.database import in_chunks
from ledger.events import CORRECTING, NEWER_CORRECTION, Kind, Signal, Status
from ledger.intake.withdrawn import GONE, was_reverted
from ledger.schema import events, interactions

_INTERVENTIONS = (Kind.TAKEOVER, Kind.ABORT, Kind.REJECT)
_KINDS = [kind.value for kind in (*CORRECTING, *_INTERVENTIONS, Kind.OUTCOME)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFeedback:
    """One event that says an answer was bad, and that stands."""

    seq: int
    signal: Signal
    author: str
    received_s: float
    conversation: str | None  # the name by which the gateway chose the version; None where it is not known
    version: str | None  # that answered, as in v7-3fa2c1; None where the answer was not captured
    answered_s: float | None  # when the ledger got the answer


def live_feedback(
    connection: Connection, agent: str, *, after_seq: int, since_seq: int | None = None
) -> list[LiveFeedback]:
    """Events of the agent after that one which say that an answer was bad, oldest first.

    It reads the state as of now: events that count no more (`uncounted_feedback`) are left out, and those
    that replace what the same author said up to `since_seq` (by default `after_seq`): those answers are
    older. A gateway that is given no conversation takes the interaction's id for it, and so does this.
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
            events.c.kind.in_(_KINDS),
            ~_counts_no_more(),
            ~_goes_on_from(after_seq if since_seq is None else since_seq),
        )
        .order_by(events.c.seq)
    )
    rows = connection.execute(query).all()
    answers = answers_in(
        connection, agent, (row.conversation for row in rows if row.interaction is None and row.conversation)
    )
    feedback = []
    for row in rows:
        if row.kind == Kind.OUTCOME.value and row.data["value"] >= 0:
            continue
        answer = answers.get(row.conversation) if row.interaction is None else None
        feedback.append(
            LiveFeedback(
                seq=row.seq,
                signal=_signal(Kind(row.kind)),
                author=row.author,
                received_s=row.received_s,
                conversation=row.captured_conversation or row.captured or row.conversation or row.interaction,
                version=row.captured_version if answer is None else answer.version,
                answered_s=row.answered_s if answer is None else answer.answered_s,
            )
        )
    return feedback


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationAnswers:
    """What is captured of the answers in one conversation."""

    version: str  # that gave them all, as in v7-3fa2c1; `SEVERAL` where there was more than one
    answered_s: float  # when the ledger got the first one


SEVERAL = "several"
"""Stands for the version of a conversation that more than one version answered."""


def answers_in(
    connection: Connection, agent: str, conversations: Iterable[str]
) -> dict[str, ConversationAnswers]:
    """The captured answers of the agent's conversations by name, of those that have any."""
    answers = {}
    for chunk in in_chunks(sorted(set(conversations))):
        query = (
            select(
                interactions.c.conversation,
                func.min(interactions.c.version).label("version"),
                func.max(interactions.c.version).label("other"),
                func.min(interactions.c.received_s).label("answered_s"),
            )
            .where(interactions.c.agent == agent, interactions.c.conversation.in_(chunk))
            .group_by(interactions.c.conversation)
        )
        for row in connection.execute(query):
            version = row.version if row.version == row.other else SEVERAL
            answers[row.conversation] = ConversationAnswers(version=version, answered_s=row.answered_s)
    return answers


def uncounted_feedback(connection: Connection, agent: str, *, after_seq: int) -> frozenset[int]:
    """The agent's events of these kinds after that one, by `seq`, that count no more.

    People withdrew or replaced them, or an outcome says that they did not last, or people disagree about
    them, or they are about such feedback and not about an answer. A correction of the same prompt in another
    conversation replaces what is taught, and both answers were bad.
    """
    query = select(events.c.seq).where(
        events.c.seq > after_seq, events.c.agent == agent, events.c.kind.in_(_KINDS), _counts_no_more()
    )
    return frozenset(connection.scalars(query))


def is_about_feedback() -> ColumnElement[bool]:
    """Whether an outcome amends what a person said: it says whether that lasted, not how the agent did."""
    earlier = events.alias("earlier")
    return exists().where(
        earlier.c.agent == events.c.agent,
        earlier.c.key == events.c.amends,
        earlier.c.kind != Kind.OUTCOME.value,
    )


def _counts_no_more() -> ColumnElement[bool]:
    is_repeated = and_(
        events.c.status == Status.SUPERSEDED.value, events.c.status_reason.startswith(NEWER_CORRECTION)
    )
    return or_(
        and_(events.c.status.in_((*GONE, Status.CONTESTED.value)), ~func.coalesce(is_repeated, false())),
        was_reverted(),
        and_(events.c.kind == Kind.OUTCOME.value, is_about_feedback()),
    )


def _goes_on_from(seq: int) -> ColumnElement[bool]:
    """Whether the event replaces one of the same author that the ledger got up to that one."""
    earlier = events.alias("earlier")
    return exists().where(
        earlier.c.agent == events.c.agent,
        earlier.c.key.in_((events.c.key, events.c.amends)),
        earlier.c.seq <= seq,
        earlier.c.source == events.c.source,
        earlier.c.author == events.c.author,
    )


def _signal(kind: Kind) -> Signal:
    if kind in CORRECTING:
        return Signal.CORRECTION
    return Signal.OUTCOME if kind is Kind.OUTCOME else Signal.INTERVENTION
