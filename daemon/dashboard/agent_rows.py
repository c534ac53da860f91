"""One row for each agent: what it serves, how well, what people said lately, and what it waits for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from daemon.commands.documents.status_document import StatusDocument
from daemon.dashboard.reports import SaidLately
from ledger.reports.history.gate_accuracy import GateAccuracy
from ledger.reports.history.recent_feedback import RecentFeedback
from ledger.reports.overview import AgentOverview
from ledger.versions.decisions import Verdict


class State(StrEnum):
    """What an agent does now. The values are words for people, and filters in addresses."""

    LEARNING = "learning"
    JUDGING = "judging"
    PERSON = "waits for a person"  # its candidate passed, and somebody must decide
    ROLLOUT = "rolling out"  # its candidate has a share of the traffic
    HELD = "on hold"
    DUE = "due"
    GATHERING = "gathering"  # it has feedback, but not enough yet
    IDLE = "idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """One agent in the list."""

    agent: AgentOverview
    state: State
    now: str  # what it does or waits for, in a sentence
    lacks: Sequence[str]
    curve: Sequence[GateAccuracy]
    feedback: RecentFeedback
    contested: int

    @property
    def judged(self) -> GateAccuracy | None:
        """The judgement of the version that serves; None for the base."""
        judgements = (judged for judged in reversed(self.curve) if judged.version == self.agent.version)
        return next(judgements, None)


def agent_rows(
    document: StatusDocument, curves: Mapping[str, Sequence[GateAccuracy]], feedback: SaidLately
) -> list[AgentRow]:
    """Every agent, by name."""
    rows = []
    for agent in document.state.agents:
        state = _state(agent, document)
        rows.append(
            AgentRow(
                agent=agent,
                state=state,
                now=_now(agent, document),
                lacks=document.missing[agent.name],
                curve=curves.get(agent.name, ()),
                feedback=feedback.of(agent.name),
                contested=feedback.contested.get(agent.name, 0),
            )
        )
    return rows


SORTS: Mapping[str, tuple[str, Callable[[AgentRow], Any]]] = {
    "name": ("Agent", lambda row: row.agent.name),
    "age": ("Since", lambda row: -row.agent.since_s),
    "accuracy": ("Gate accuracy", lambda row: -1.0 if row.judged is None else row.judged.after),
    "corrections": ("Corrections", lambda row: row.feedback.corrections),
    "rate": ("Rate", lambda row: row.feedback.corrected_share or -1.0),
    "waiting": ("Waiting", lambda row: row.agent.backlog.untaught),
    "verdict": ("Last verdict", lambda row: 0.0 if row.agent.last is None else row.agent.last.decided_s),
}
"""By what the list can be sorted: the words of the column, and the value."""


def chosen_rows(rows: Sequence[AgentRow], *, text: str, state: str, sort: str) -> list[AgentRow]:
    """The rows whose agent's name or version has the text and whose state is that one, in order.

    A `-` before the name of the order turns it round. Unknown states and orders choose as if none was given.
    """
    wanted = text.casefold()
    chosen = [
        row
        for row in rows
        if (wanted in row.agent.name.casefold() or wanted in row.agent.version)
        and (state not in set(State) or row.state == state)
    ]
    _, value = SORTS.get(sort.removeprefix("-"), SORTS["name"])
    return sorted(chosen, key=lambda row: (value(row), row.agent.name), reverse=sort.startswith("-"))


def _state(agent: AgentOverview, document: StatusDocument) -> State:
    if agent.name in document.holds:
        return State.HELD
    if agent.turn is not None:
        return State.LEARNING
    if agent.candidate is not None:
        if agent.canary is not None and agent.share > 0:
            return State.ROLLOUT
        last = agent.last
        passed = last is not None and last.verdict is Verdict.CANARY and last.version == agent.candidate
        waits = agent.name in document.candidates_wait
        return State.PERSON if passed and waits else State.JUDGING
    if not agent.backlog.untaught:
        return State.IDLE
    return State.DUE if document.waits[agent.name] is None else State.GATHERING


def _now(agent: AgentOverview, document: StatusDocument) -> str:
    """What the agent does or waits for, as `clorad status` says it."""
    if agent.name in document.holds:
        hold = document.holds[agent.name]
        return f"on hold by {hold.by}: {hold.reason}"
    if agent.turn is not None:
        return f"learning v{agent.turn.version}" + ("" if agent.turn.holder else ", waits for a learner")
    if agent.candidate is not None:
        waits = document.candidates_wait.get(agent.name)
        return f"judging {agent.candidate}" if waits is None else f"{agent.candidate} waits for {waits}"
    if not agent.backlog.untaught:
        return "no feedback waits"
    waits_for = document.waits[agent.name]
    return "due" if waits_for is None else f"waits for {waits_for}"
