"""One experiment's course: orders rollouts, waits until they are trained on and the version serves, goes on.

A step is synchronous: its rollouts are answered by one version, and the next step begins when the version
made of them serves. Where corrections teach, the agent is due once all of the step's outcomes are there. What
the ledger says decides, so a course that broke off goes on where it was.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from daemon.commands.experiments.environments import EnvironmentProcess
from daemon.commands.experiments.plan import ExperimentPlan
from daemon.commands.experiments.results import ResultFile, StepResult, stop_file
from daemon.setting_groups.experiments import ExperimentSettings
from ledger.database import Connection
from ledger.events import Status
from ledger.experiments.steps import (
    LearnsFrom,
    StepMark,
    StepOutcome,
    StepState,
    StepTurn,
    late_outcomes,
    step_corrections,
    step_outcomes,
    step_state,
)
from ledger.turn_states import TurnState
from ledger.versions.decisions import Verdict, newest_seq
from rewards.baseline import ALIKE

GRACE_S = 5.0
"""Seconds after the environment is done in which its last outcomes may still be on their way."""

BUDGET_USED, STOPPED = "its steps are done", "stopped by a person"
_USABLE = frozenset(Status) - {Status.SUPERSEDED, Status.RETRACTED, Status.NOT_YOURS}


class CoursePhase(StrEnum):
    """What a course waits for."""

    ROLLOUTS = "rollouts"
    UPDATE = "update"


@dataclass(slots=True, kw_only=True)
class _Step:
    """The step that is under way. Times are Unix time."""

    number: int
    mark: StepMark
    began_s: float
    phase: CoursePhase = CoursePhase.ROLLOUTS
    ordered: int = 0  # times
    starts: int = 0  # of the environment, when the last order was given
    done_s: float | None = None  # since when the environment has been done
    outcomes_s: float = 0.0  # when the last one was seen
    is_due_early: bool = False  # the agent is due with fewer events than the plan says
    notes: list[str] = field(default_factory=list)


class ExperimentCourse:
    """An experiment while it runs. `poll` takes it further; `results.end` says that it is over."""

    def __init__(
        self,
        plan: ExperimentPlan,
        results: ResultFile,
        environment: EnvironmentProcess,
        limits: ExperimentSettings,
        *,
        set_events_min: Callable[[str, int], None],
    ) -> None:
        self.plan = plan
        self.results = results
        self._environment = environment
        self._limits = limits
        self._set_events_min = set_events_min
        self._step: _Step | None = None

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return self.results.path.parent

    @property
    def phase(self) -> str:
        """What it waits for, for people."""
        return "" if self._step is None else self._step.phase.value

    def poll(self, connection: Connection, now_s: float) -> StepResult | None:
        """Take the course as far as the ledger allows. Returns a step that has ended now."""
        step = self._step or self._begin(now_s)
        if step is None:
            return None
        state = step_state(connection, self.plan.name, step.mark, self.plan.learns_from)
        if step.phase is CoursePhase.ROLLOUTS:
            self._roll_out(step, state, now_s)
        if self.results.end is None and step.phase is CoursePhase.UPDATE and self._is_updated(step, state):
            return self._finish(connection, step, state, now_s)
        is_waiting = self.results.end is None and step.phase is CoursePhase.UPDATE
        if is_waiting and now_s - step.outcomes_s > self._limits.update_s_max:
            self._end(f"no version of step {step.number} after {self._limits.update_s_max:.0f} s")
        return None

    def _begin(self, now_s: float) -> _Step | None:
        number = len(self.results.steps) + 1
        if number > self.plan.steps:
            self._end(BUDGET_USED)
            return None
        asked_to_stop = stop_file(self.folder, self.plan.name)
        if asked_to_stop.exists():
            asked_to_stop.unlink()
            self._end(STOPPED)
            return None
        self._step = _Step(number=number, mark=self.results.next_mark(), began_s=now_s, outcomes_s=now_s)
        return self._step

    def _roll_out(self, step: _Step, state: StepState, now_s: float) -> None:
        """Order what is missing; go on once everything came, or nothing more will.

        Outcomes are waited for alone: what people corrected in a conversation was sent before its outcome.
        """
        has_all = state.outcomes >= self.plan.batch and state.measured >= self.plan.measured
        if has_all or state.turn is not None:
            self._learn(step, state, now_s)
            return
        died = step.ordered > 0 and not self._environment.is_alive()
        if step.ordered == 0 or died or step.starts != self._environment.starts:
            if died:
                step.notes.append(self._environment.obituary())
            self._order(step, state)
            return
        if step.done_s is None and self._environment.done(self.plan.name, step.number):
            step.done_s = now_s
        is_over = step.done_s is not None and now_s - step.done_s > GRACE_S
        if is_over or now_s - step.began_s > self._limits.rollouts_s_max:
            if not state.outcomes:
                self._end(f"no outcome of step {step.number} came")
                return
            self._learn(step, state, now_s)

    def _learn(self, step: _Step, state: StepState, now_s: float) -> None:
        """What came makes the agent due."""
        if state.turn is None and 0 < state.untaught != self.plan.events_min:
            self._set_events_min(self.plan.name, state.untaught)
            step.is_due_early = True
        step.phase, step.outcomes_s = CoursePhase.UPDATE, now_s

    def _order(self, step: _Step, state: StepState) -> None:
        """Order the rollouts that have no outcome yet. Each order has tasks of its own."""
        missing = max(0, self.plan.batch - state.outcomes)
        order = {
            "experiment": self.plan.name,
            "agent": self.plan.name,
            "version": step.mark.version,
            "step": step.number,
            "groups": math.ceil(missing / self.plan.samples),
            "samples": self.plan.samples,
            "measured": max(0, self.plan.measured - state.measured),
            "learns_from": self.plan.learns_from.value,
            "task_prefix": f"s{step.number}.{step.ordered}-",
            "seed": self.plan.seed,
            "options": dict(self.plan.options),
        }
        step.ordered += 1
        if not self._environment.order(order):
            self._end(f"step {step.number}: {self._environment.obituary()}")
        step.starts, step.done_s = self._environment.starts, None

    def _is_updated(self, step: _Step, state: StepState) -> bool:
        """Whether the step's version serves, or there is nothing to learn. Ends the course on a refusal."""
        turn = state.turn
        if turn is None:
            return state.untaught == 0
        if turn.state is TurnState.DROPPED:
            self._end(f"step {step.number} was not learned: {turn.reason}")
        elif turn.verdict in (Verdict.REFUSE, Verdict.ABSTAIN, Verdict.ROLLBACK):
            self._end(f"the version of step {step.number} does not serve: {turn.verdict}")
        return turn.verdict == Verdict.PROMOTE and state.serving != step.mark.version

    def _finish(self, connection: Connection, step: _Step, state: StepState, now_s: float) -> StepResult:
        outcomes = step_outcomes(connection, self.plan.name, step.mark)
        usable = [outcome for outcome in outcomes if outcome.status in _USABLE]
        counted = {outcome.interaction: outcome for outcome in usable}  # the newest one about each answer
        means = _means(counted.values())
        missing = self._missing(step, state)
        if step.is_due_early:
            self._set_events_min(self.plan.name, self.plan.events_min)
        result = StepResult(
            step=step.number,
            version=step.mark.version,
            serves=state.serving,
            reward=means.pop(None, 0.0),
            outcomes=sum(outcome.measure is None for outcome in counted.values()),
            missing=missing,
            late=late_outcomes(connection, self.plan.name, step.mark),
            twice=len(usable)
            - len(counted)
            + sum(outcome.status is Status.SUPERSEDED for outcome in outcomes),
            alike=sum(outcome.reason == ALIKE for outcome in outcomes),
            corrections=len(step_corrections(connection, self.plan.name, step.mark)),
            measures={str(name): mean for name, mean in means.items()},
            tokens=0 if state.turn is None else state.turn.tokens,
            **_parts_s(step, state.turn, max([step.began_s, *(o.received_s for o in outcomes)]), now_s),
            turn=step.mark.turn if state.turn is None else state.turn.id,
            seq=newest_seq(connection, self.plan.name),
            ended_at_s=now_s,
            notes=tuple(step.notes),
        )
        self.results.add_step(result)
        self._step = None
        if self.plan.learns_from is LearnsFrom.CORRECTIONS and _is_uncorrected(result):
            self._end(f"{result.outcomes} outcomes in step 1 and no correction: its environment sends none")
        return result

    def _missing(self, step: _Step, state: StepState) -> int:
        """How many of the step's rollouts have no outcome; noted, with those that measure."""
        missing = max(0, self.plan.batch - state.outcomes)
        unmeasured = max(0, self.plan.measured - state.measured)
        if missing:
            step.notes.append(f"{missing} of {self.plan.batch} rollouts have no outcome")
        if unmeasured:
            step.notes.append(f"{unmeasured} of {self.plan.measured} measured conversations have no outcome")
        return missing

    def _end(self, reason: str) -> None:
        self.results.add_end(reason)
        self._step = None


def _is_uncorrected(first: StepResult) -> bool:
    """Whether nobody corrected what was wrong in the first step."""
    return first.step == 1 and not first.corrections and first.reward < 1.0


def _means(outcomes: Iterable[StepOutcome]) -> dict[str | None, float]:
    """The mean value by what is measured; None: the step's own prompts."""
    values: dict[str | None, list[float]] = defaultdict(list)
    for outcome in sorted(outcomes, key=lambda outcome: outcome.measure or ""):
        values[outcome.measure].append(outcome.value)
    return {measure: round(statistics.fmean(of_measure), 4) for measure, of_measure in values.items()}


def _parts_s(step: _Step, turn: StepTurn | None, outcomes_s: float, now_s: float) -> dict[str, float]:
    """Seconds of the step's parts, in order."""
    moments = [step.began_s, outcomes_s, now_s, now_s, now_s]
    if turn is not None and turn.closed_s is not None:
        moments[2:4] = turn.opened_s, turn.closed_s
    names = ("rollout_s", "wait_s", "train_s", "swap_s")
    ends = zip(names, moments, moments[1:], strict=False)
    parts = {name: round(max(0.0, end_s - begin_s), 3) for name, begin_s, end_s in ends}
    return {**parts, "step_s": round(now_s - step.began_s, 3)}
