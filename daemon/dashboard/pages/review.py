"""The review queue: what waits for a person, with both sides and what can be done about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from daemon.dashboard.agent_rows import AgentRow, State, agent_rows
from daemon.dashboard.changed_words import changed_words
from daemon.dashboard.visit import Visit
from ledger.database import Connection
from ledger.events import DeadLetter
from ledger.intake import dead_letters
from ledger.learning.contested import ContestedEvent, contested
from ledger.versions.decisions import Verdict
from rewards.exchange import asked
from rewards.replies import reply_text

ITEMS_MAX = 20
"""Items of one kind that the page shows: the newest. What is settled makes room for the next."""

BYTES_SHOWN_MAX = 600

KINDS = {
    "candidates": "Candidates that wait for a person",
    "contested": "Contested events",
    "abstained": "Versions that the gate could not judge",
    "letters": "Dead letters",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewQueue:
    """What waits, by kind."""

    candidates: Sequence[AgentRow]
    contested: Sequence[ContestedEvent]
    abstained: Sequence[AgentRow]
    letters: Sequence[DeadLetter]


def show_review(visit: Visit) -> Response:
    """What waits for a person, of the agents that this viewer may see; dead letters belong to no agent."""
    document = visit.reports.status()
    rows = [
        row
        for row in agent_rows(document, visit.reports.curves(), visit.reports.feedback())
        if visit.viewer.may_see(row.agent.name)
    ]
    sees_all = visit.viewer.sees_all or visit.viewer.grant.agents is None
    agent = visit.asked("agent") or None
    if agent is not None:
        visit.viewer.require_see(agent)

    def read(connection: Connection) -> tuple[list[ContestedEvent], list[DeadLetter]]:
        return (
            contested(connection, agent=agent, limit=ITEMS_MAX),
            dead_letters.newest(connection, limit=ITEMS_MAX, unsent=True) if agent is None else [],
        )

    events, letters = visit.reports.read("review", read, agent)
    queue = ReviewQueue(
        candidates=[row for row in rows if row.state is State.PERSON and agent in (None, row.agent.name)],
        contested=[event for event in events if visit.viewer.may_see(event.kept.event.agent)],
        abstained=[
            row
            for row in rows
            if row.agent.last is not None
            and row.agent.last.verdict is Verdict.ABSTAIN
            and agent in (None, row.agent.name)
        ][:ITEMS_MAX],
        letters=letters if sees_all else [],
    )
    return visit.page(
        "review.html",
        queue=queue,
        kinds=KINDS,
        only=visit.asked("only"),
        agent=agent,
        document=document,
        asked=asked,
        reply_text=reply_text,
        changed_words=changed_words,
        text_of=_text_of,
    )


def _text_of(letter: DeadLetter) -> str:
    """The beginning of the record, as far as it is text."""
    return (letter.value or b"")[:BYTES_SHOWN_MAX].decode("utf-8", "replace")
