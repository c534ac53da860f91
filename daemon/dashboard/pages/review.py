"""The review queue: what waits for a person, with both sides and what can be done about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from daemon.dashboard.agent_rows import AgentRow, State, agent_rows
from daemon.dashboard.changed_words import changed_words
from daemon.dashboard.visit import ListPage, Visit
from ledger.database import Connection
from ledger.events import DeadLetter
from ledger.intake import dead_letters
from ledger.learning.contested import ContestedEvent, contested
from ledger.versions.decisions import Verdict
from rewards.exchange import asked
from rewards.replies import reply_text

ITEMS_A_PAGE = 20
"""Items of one kind on a page. The page of all kinds shows the first of each."""

BYTES_SHOWN_MAX = 600

KINDS = {
    "candidates": "Candidates that wait for a person",
    "contested": "Contested events",
    "abstained": "Versions that the gate could not judge",
    "letters": "Dead letters",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewQueue:
    """What waits, by kind: the items of one page, and how many there are of each kind."""

    candidates: Sequence[AgentRow]
    contested: Sequence[ContestedEvent]
    abstained: Sequence[AgentRow]
    letters: Sequence[DeadLetter]
    sizes: Mapping[str, int]  # by the names in `KINDS`


def show_review(visit: Visit) -> Response:
    """What waits for a person, of the agents that this viewer may see; dead letters belong to no agent."""
    agent, only = visit.asked("agent") or None, visit.asked("only")
    if agent is not None:
        visit.viewer.require_see(agent)
    rows = [
        row
        for row in agent_rows(visit.reports.status(), visit.reports.curves(), visit.reports.feedback())
        if visit.viewer.may_see(row.agent.name) and agent in (None, row.agent.name)
    ]
    candidates = [row for row in rows if row.state is State.PERSON]
    abstained = [row for row in rows if _was_not_decided(row)]
    opened = None if visit.viewer.sees_all else visit.viewer.grant.agents
    sees_letters = opened is None and agent is None
    sizes = {
        "candidates": len(candidates),
        "contested": sum(row.contested for row in rows),
        "abstained": len(abstained),
        "letters": visit.reports.feedback().unsent if sees_letters else 0,
    }
    page = visit.page_of(sizes.get(only, 0), ITEMS_A_PAGE)
    events, letters = _read(
        visit, opened if agent is None else frozenset({agent}), page, sees_letters=sees_letters
    )
    return visit.page(
        "review.html",
        queue=ReviewQueue(
            candidates=page.items(candidates),
            contested=events,
            abstained=page.items(abstained),
            letters=letters,
            sizes=sizes,
        ),
        kinds=KINDS,
        only=only,
        agent=agent,
        page=page,
        document=visit.reports.status(),
        asked=asked,
        reply_text=reply_text,
        changed_words=changed_words,
        text_of=_text_of,
    )


def _was_not_decided(row: AgentRow) -> bool:
    """Whether the gate could not judge the agent's last version."""
    return row.agent.last is not None and row.agent.last.verdict is Verdict.ABSTAIN


def _read(
    visit: Visit, agents: frozenset[str] | None, page: ListPage, *, sees_letters: bool
) -> tuple[list[ContestedEvent], list[DeadLetter]]:
    """The contested events of these agents (None: of all) and the dead letters that are on the page."""

    def read(connection: Connection) -> tuple[list[ContestedEvent], list[DeadLetter]]:
        events = contested(connection, agents=agents, limit=page.size, offset=page.first)
        if not sees_letters:
            return events, []
        return events, dead_letters.newest(connection, limit=page.size, offset=page.first, unsent=True)

    return visit.reports.read("review", read, agents, page.first, sees_letters)


def _text_of(letter: DeadLetter) -> str:
    """The beginning of the record, as far as it is text."""
    return (letter.value or b"")[:BYTES_SHOWN_MAX].decode("utf-8", "replace")
