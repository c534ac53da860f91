"""Makes events of feedback of what the states of a branch say about one interaction, one after the other.

The ids follow from the repository, the interaction and the number of the state, so a second run sends
duplicates. A later state amends an earlier one by a higher revision of the same key; where it is of another
kind or by another person, which no revision replaces, the earlier event is retracted. Pure functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from feedback.bridges.git.commits import Author, People
from feedback.bridges.git.verdicts import BranchVerdict, Said

_KINDS = {Said.CORRECTED: "correction", Said.APPROVED: "intervention", Said.SHARE: "outcome"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchState:
    """One state of the branch with what it says, and when it came to be."""

    verdict: BranchVerdict
    since_s: int  # Unix time
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GitEvent:
    """One event to send. `is_signed`: the settings vouch for the author."""

    kind: str
    id: str
    source: str
    at: datetime
    data: Mapping[str, Any]
    is_signed: bool


def events_of(
    states: Sequence[BranchState], *, repository: str, agent: str, interaction: str, people: People
) -> list[GitEvent]:
    """The event of the last state that says something, after retractions of what it does not replace."""
    speaking = [
        (revision, state)
        for revision, state in enumerate(states, start=1)
        if state.verdict.said is not Said.NOTHING
    ]
    events: list[GitEvent] = []
    for revision, state in speaking:
        author = people.author(state.verdict.email)
        event = _event(state, revision, author, repository=repository, agent=agent, interaction=interaction)
        last = speaking[-1][1]
        if state is last:
            events.append(event)
        elif not _replaces(last.verdict, state.verdict, people):
            events.append(_retraction(event, at=_moment(states[revision])))
    return events


def _replaces(later: BranchVerdict, earlier: BranchVerdict, people: People) -> bool:
    """Whether the ledger takes the later event for a new revision of the earlier one."""
    return later.said is earlier.said and people.author(later.email) == people.author(earlier.email)


def _event(
    state: BranchState, revision: int, author: Author, *, repository: str, agent: str, interaction: str
) -> GitEvent:
    verdict = state.verdict
    data: dict[str, Any] = {
        "agent": agent,
        "author": author.name,
        "interaction": interaction,
        "key": f"git.{interaction}",
        "revision": revision,
    }
    if verdict.said is Said.CORRECTED:
        data |= {"corrected": verdict.corrected, "comment": f"changed in git until {state.commit[:12]}"}
    elif verdict.said is Said.APPROVED:
        data |= {"action": "approve", "reason": f"kept in git until {state.commit[:12]}"}
    else:
        data |= {"value": verdict.value}
    return GitEvent(
        kind=_KINDS[verdict.said],
        id=f"{interaction}.{revision}.{verdict.said}",
        source=f"//git/{repository}",
        at=_moment(state),
        data=data,
        is_signed=author.is_mapped,
    )


def _retraction(event: GitEvent, *, at: datetime) -> GitEvent:
    data = {
        "agent": event.data["agent"],
        "author": event.data["author"],
        "target": {"source": event.source, "id": event.id},
    }
    return GitEvent(
        kind="retraction",
        id=f"{event.id}.retracted",
        source=event.source,
        at=at,
        data=data,
        is_signed=event.is_signed,
    )


def _moment(state: BranchState) -> datetime:
    return datetime.fromtimestamp(state.since_s, UTC)
