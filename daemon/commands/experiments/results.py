"""The results of experiments: one file of JSON lines for each, which a run that broke off goes on from."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from daemon.commands.experiments.plan import ExperimentPlan
from daemon.console import CommandFailed
from ledger.experiments.steps import LearnsFrom, StepMark

_BEFORE: Mapping[str, Any] = {"learns_from": LearnsFrom.OUTCOMES.value, "measured": 0}
"""What plans were that say nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One step: the rewards of its rollouts, before it was trained on, and how long its parts took."""

    step: int  # from 1
    version: str  # that answered
    serves: str  # afterwards; the same where nothing was learned
    reward: float  # the mean over the step's own prompts
    outcomes: int
    missing: int  # rollouts without a usable outcome
    late: int  # outcomes about answers of earlier versions
    twice: int  # outcomes that a newer one about the same answer replaced
    alike: int  # outcomes of groups without spread: they teach nothing
    corrections: int  # that people gave
    measures: Mapping[str, float]  # the means over prompts that nothing is taught from, by name
    tokens: int  # trained on
    rollout_s: float  # until the last outcome was stored
    wait_s: float  # until the pass began
    train_s: float  # until the version existed
    swap_s: float  # until it served
    step_s: float
    turn: int  # id of the agent's newest turn, after the step
    seq: int  # number of the agent's newest event, after the step
    ended_at_s: float  # Unix time
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class ResultFile:
    """The file of one experiment."""

    path: Path
    plan: Mapping[str, Any] = field(default_factory=dict)
    steps: list[Mapping[str, Any]] = field(default_factory=list)
    first_mark: Mapping[str, Any] = field(default_factory=dict)  # where the ledger stood when it began
    began_s: float | None = None  # Unix time of its first run
    end: str | None = None  # why it is over; None: it is not

    @property
    def name(self) -> str:
        return self.path.stem

    def add_step(self, result: StepResult) -> None:
        """Store a step. A line is whole on disk, or not there."""
        self._append(line := asdict(result))
        self.steps.append(line)

    def add_end(self, reason: str) -> None:
        """Store why the experiment is over."""
        self._append({"end": reason})
        self.end = reason

    def begin(self, plan: ExperimentPlan, mark: StepMark, *, now_s: float) -> None:
        """Store the plan of an experiment that begins."""
        self.plan, self.began_s, self.first_mark = plan_values(plan), now_s, asdict(mark)
        self._append({"plan": self.plan, "began_s": now_s, "mark": self.first_mark})

    def next_mark(self) -> StepMark:
        """Where the next step begins, also if what ran it last was killed in the middle of it."""
        if not self.steps:
            return StepMark(**self.first_mark)
        last = self.steps[-1]
        return StepMark(seq=last["seq"], turn=last["turn"], version=last["serves"])

    def _append(self, line: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def plan_values(plan: ExperimentPlan) -> dict[str, Any]:
    """The plan as JSON values: two plans with the same values are the same experiment."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    return values


def read_results(path: Path) -> ResultFile:
    """What the file has. A last line that was cut off by a crash does not count, and is removed."""
    results = ResultFile(path)
    if not path.is_file():
        return results
    whole, cut, rest = path.read_bytes().rpartition(b"\n")
    if rest:
        path.write_bytes(whole + cut)
    for line in _lines(path, whole):
        if "plan" in line:
            results.plan, results.began_s, results.first_mark = line["plan"], line["began_s"], line["mark"]
        elif "end" in line:
            results.end = line["end"]
        else:
            results.steps.append(line)
            results.end = None
    return results


def all_results(folder: Path) -> Sequence[ResultFile]:
    """The results of every experiment in the folder, by name."""
    return [read_results(path) for path in sorted(folder.glob("*.jsonl"))]


def results_of(folder: Path, plan: ExperimentPlan) -> ResultFile:
    """The results so far. Raises `CommandFailed` where another plan was run under this name."""
    results = read_results(folder / f"{plan.name}.jsonl")
    if results.plan and {**_BEFORE, **results.plan, "steps": 0} != {**plan_values(plan), "steps": 0}:
        raise CommandFailed(f"{plan.name} was run with another plan: rename it, or remove {results.path}")
    return results


def stop_file(folder: Path, name: str) -> Path:
    """The file whose presence asks a running experiment to end after its step."""
    return folder / f"{name}.stop"


def _lines(path: Path, text: bytes) -> Iterator[Mapping[str, Any]]:
    try:
        yield from map(json.loads, text.splitlines())
    except ValueError:
        raise CommandFailed(f"{path} is no file of results: remove it") from None
