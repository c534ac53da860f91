"""Reads how far a step of an experiment is: its outcomes, its turn, and the version that serves now.

An outcome whose task is named `measure:NAME:...` measures: it is about a prompt that nothing is taught from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, and_, func, select

from ledger.events import CORRECTING, Kind, Role, Status
from ledger.intake.withdrawn import GONE
from ledger.schema import decisions, events, interactions, passes, turns, versions
from ledger.turn_states import TurnState
from ledger.versions.decisions import SETTLED, newest_seq
from ledger.versions.desired import champion
from ledger.versions.lineage import BASE, version, version_name

_MEASURE = "measure:"
_SHOWING = (*CORRECTING, Kind.TAKEOVER)


class LearnsFrom(StrEnum):
    """What an experiment's versions are trained on."""

    OUTCOMES = "outcomes"  # what the agent sampled, by how good it was
    CORRECTIONS = "corrections"  # what people want instead; outcomes only measure


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMark:
    """Where the ledger stands when a step begins: what is newer belongs to the step."""

    seq: int  # of the agent's newest event
    turn: int  # id of its newest turn; 0: it had none
    version: str  # that serves, and must answer in this step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """One outcome about an answer of the step's version."""

    interaction: str
    measure: str | None  # what it measures; None: it is about one of the step's own prompts
    value: float
    status: Status
    reason: str | None  # of the status
    received_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTurn:
    """The newest turn since the step began."""

    id: int
    opened_s: float
    closed_s: float | None
    state: TurnState
    reason: str | None
    tokens: int
    verdict: str | None  # the final decision about its version
    verdict_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """A step at one moment."""

    outcomes: int  # interactions of the step's version that have an outcome, those that measure left out
    measured: int  # interactions that have one that measures
    untaught: int  # of what the experiment learns from: neither refused nor found to teach nothing
    turn: StepTurn | None
    serving: str


def begin_mark(connection: Connection, agent: str) -> StepMark:
    """The mark of a step that begins now."""
    newest_turn = connection.scalar(select(func.max(turns.c.id)).where(turns.c.agent == agent))
    return StepMark(
        seq=newest_seq(connection, agent),
        turn=int(newest_turn or 0),
        version=serving_name(connection, agent),
    )


def serving_name(connection: Connection, agent: str) -> str:
    """The version that serves the agent's experiment, or v0."""
    number = champion(connection, agent)
    serving = None if number == BASE else version(connection, agent, number)
    return version_name(BASE, "") if serving is None else serving.name


def step_state(
    connection: Connection, agent: str, mark: StepMark, learns_from: LearnsFrom = LearnsFrom.OUTCOMES
) -> StepState:
    """How far the step is."""
    is_open, measures = events.c.status == Status.OPEN.value, _task().startswith(_MEASURE)
    answers = func.count(events.c.interaction.distinct())
    counted = connection.execute(
        select(
            answers.filter(~measures).label("outcomes"),
            answers.filter(measures).label("measured"),
            answers.filter(is_open).label("untaught"),
        )
        .join(interactions, interactions.c.id == events.c.interaction)
        .where(_is_outcome_of(agent, mark))
    ).one()
    untaught = int(counted.untaught)
    if learns_from is LearnsFrom.CORRECTIONS:
        untaught = step_corrections(connection, agent, mark).count(Status.OPEN)
    return StepState(
        outcomes=int(counted.outcomes),
        measured=int(counted.measured),
        untaught=untaught,
        turn=_newest_turn(connection, agent, mark),
        serving=serving_name(connection, agent),
    )


def step_outcomes(connection: Connection, agent: str, mark: StepMark) -> Sequence[StepOutcome]:
    """Every outcome about an answer of the step's version, in order."""
    query = (
        select(
            events.c.interaction, events.c.data, events.c.status, events.c.status_reason, events.c.received_s
        )
        .join(interactions, interactions.c.id == events.c.interaction)
        .where(_is_outcome_of(agent, mark))
        .order_by(events.c.seq)
    )
    return [
        StepOutcome(
            interaction=row.interaction,
            measure=_measure(str(row.data.get("task") or "")),
            value=float(row.data["value"]),
            status=Status(row.status),
            reason=row.status_reason,
            received_s=row.received_s,
        )
        for row in connection.execute(query)
    ]


def step_corrections(connection: Connection, agent: str, mark: StepMark) -> list[Status]:
    """The status of each reply that people showed the agent since the step began, without withdrawn ones."""
    query = select(events.c.status).where(
        events.c.agent == agent,
        events.c.kind.in_([kind.value for kind in _SHOWING]),
        events.c.seq > mark.seq,
        events.c.role == Role.TRAIN.value,
        events.c.status.not_in(GONE),
    )
    return [Status(status) for status in connection.scalars(query)]


def late_outcomes(connection: Connection, agent: str, mark: StepMark) -> int:
    """Outcomes since the step began about answers of other versions: they teach this version nothing."""
    query = (
        select(func.count())
        .select_from(events)
        .join(interactions, interactions.c.id == events.c.interaction)
        .where(
            events.c.agent == agent,
            events.c.kind == Kind.OUTCOME.value,
            events.c.seq > mark.seq,
            interactions.c.version != mark.version,
        )
    )
    return int(connection.scalar(query) or 0)


def _task() -> ColumnElement[str]:
    return func.coalesce(events.c.data["task"].as_string(), "")


def _measure(task: str) -> str | None:
    """What an outcome of this task measures."""
    return task.split(":")[1] if task.startswith(_MEASURE) else None


def _is_outcome_of(agent: str, mark: StepMark) -> ColumnElement[bool]:
    return and_(
        events.c.agent == agent,
        events.c.kind == Kind.OUTCOME.value,
        events.c.seq > mark.seq,
        events.c.role.is_not(None),
        interactions.c.agent == agent,
        interactions.c.version == mark.version,
    )


def _newest_turn(connection: Connection, agent: str, mark: StepMark) -> StepTurn | None:
    """Turns that were void do not count: the agent is due again at once."""
    settled = [verdict.value for verdict in SETTLED]
    query = (
        select(turns, passes.c.opened_s, decisions.c.kind.label("verdict"), decisions.c.decided_s)
        .join(passes, passes.c.id == turns.c.pass_id)
        .outerjoin(versions, versions.c.turn_id == turns.c.id)
        .outerjoin(
            decisions,
            (decisions.c.agent == versions.c.agent)
            & (decisions.c.number == versions.c.number)
            & decisions.c.kind.in_(settled),
        )
        .where(turns.c.agent == agent, turns.c.id > mark.turn, turns.c.state != TurnState.VOID.value)
        .order_by(turns.c.id.desc(), decisions.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return StepTurn(
        id=row.id,
        opened_s=row.opened_s,
        closed_s=row.closed_s,
        state=TurnState(row.state),
        reason=row.reason,
        tokens=row.tokens,
        verdict=row.verdict,
        verdict_s=row.decided_s,
    )
