"""Reads an experiment file: each experiment is an agent with a recipe, a batch and a number of steps."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from daemon import setting_checks
from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from daemon.settings_file import one_line
from engine.recipe import Term, recipe_from
from ledger.experiments.steps import LearnsFrom
from ledger.learning.agents import NAME_PATTERN, NOT_YET

EXPERIMENTS_MAX = 64
SYNCHRONOUS: Mapping[str, Any] = {"preset": "grpo", "staleness_max": 0}
"""The recipe of an experiment on outcomes, before the file's changes: a step learns from what its own version
sampled. One on corrections has the default recipe, in which outcomes teach nothing."""

Name = Annotated[str, Field(pattern=rf"^{NAME_PATTERN}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPlan:
    """One experiment as it is to be run."""

    name: str  # of the experiment and of its agent
    environment: tuple[str, ...]  # its command
    groups: int
    samples: int
    steps: int
    seed: int
    recipe: Mapping[str, Any]
    options: Mapping[str, Any]  # of the environment
    learns_from: LearnsFrom = LearnsFrom.OUTCOMES
    measured: int = 0  # conversations of a step about prompts that nothing is taught from

    @property
    def batch(self) -> int:
        """Outcomes of one step, those that measure left out."""
        return self.groups * self.samples

    @property
    def events_min(self) -> int:
        """Untaught events that make its agent due while a step's rollouts come in.

        How many corrections come is not known before: the course says when all are there.
        """
        return self.batch if self.learns_from is LearnsFrom.OUTCOMES else NOT_YET


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentFile:
    """The experiments of one file, in order."""

    name: str
    at_once: int
    plans: tuple[ExperimentPlan, ...]


class _Changes(BaseModel):
    """What one experiment has of its own."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    groups: int | None = Field(default=None, ge=1)
    samples: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1, le=10_000)
    seed: int | None = Field(default=None, ge=0)
    environment: list[str] | None = Field(default=None, min_length=1)
    learns_from: Annotated[LearnsFrom, Field(strict=False)] | None = None
    measured: int | None = Field(default=None, ge=0)
    recipe: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)


class _File(_Changes):
    """The whole file. What stands outside of `experiments` holds for all of them."""

    base: str | None = None
    at_once: int | None = Field(default=None, ge=1, le=EXPERIMENTS_MAX)
    experiments: dict[Name, _Changes] = Field(min_length=1, max_length=EXPERIMENTS_MAX)


def read_plan(path: Path, settings: Settings, *, at_once: int | None = None) -> ExperimentFile:
    """The experiments in a TOML file. Raises `CommandFailed` with one line that says what is wrong."""
    try:
        read = _File.model_validate(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError) as fault:
        raise _refused(f"{path}: {fault}") from None
    except tomllib.TOMLDecodeError as fault:
        raise _refused(f"{path.name}: {fault}") from None
    except ValidationError as refusal:
        raise _refused(f"{path.name}: {one_line(refusal)}") from None
    if read.base is not None and Path(read.base).expanduser().resolve() != settings.engine.base:
        raise _refused(f"{path.name}: base: this installation has one base, {settings.engine.base}")
    plans = tuple(_plan(name, read, own, settings, path.name) for name, own in read.experiments.items())
    return ExperimentFile(name=path.stem, at_once=at_once or read.at_once or len(plans), plans=plans)


def _plan(name: str, shared: _File, own: _Changes, settings: Settings, file: str) -> ExperimentPlan:
    values: dict[str, Any] = {}
    for field in ("environment", "groups", "samples", "steps"):
        value = getattr(own, field)
        values[field] = getattr(shared, field) if value is None else value
        if values[field] is None:
            raise _refused(f"{file}: experiments.{name}: {field} is missing")
    learns_from = own.learns_from or shared.learns_from or LearnsFrom.OUTCOMES
    try:
        recipe = _recipe(learns_from, {**shared.recipe, **own.recipe})
    except ValueError as refusal:
        raise _refused(f"{file}: experiments.{name}.recipe: {refusal}") from None
    plan = ExperimentPlan(
        name=name,
        environment=tuple(values.pop("environment")),
        **values,
        seed=own.seed if own.seed is not None else shared.seed or 0,
        recipe=recipe,
        options={**shared.options, **own.options},
        learns_from=learns_from,
        measured=own.measured if own.measured is not None else shared.measured or 0,
    )
    if reason := _why_not(plan, settings):
        raise _refused(f"{file}: experiments.{name}: {reason}")
    return plan


def _recipe(learns_from: LearnsFrom, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of an experiment. Raises `ValueError` where it could not learn what it is to learn from."""
    recipe = dict(changes) if learns_from is LearnsFrom.CORRECTIONS else {**SYNCHRONOUS, **changes}
    coefficients = recipe_from(setting_checks.recipe(recipe)).coefficients
    if learns_from is LearnsFrom.OUTCOMES:
        if coefficients[Term.POLICY] == 0.0:
            raise ValueError('outcomes teach by the policy term, which is 0: set learns_from = "corrections"')
        return recipe
    if recipe.get("preset"):
        raise ValueError(f'{recipe["preset"]} is for outcomes: set learns_from = "outcomes"')
    if coefficients[Term.SUPERVISED] == coefficients[Term.PREFERENCE] == 0.0:
        raise ValueError("corrections teach by the terms supervised and preference, which are both 0")
    if dict(recipe.get("coefficients", {})).get(Term.POLICY):
        raise ValueError(
            'with learns_from = "corrections" outcomes only measure: leave out the coefficient policy'
        )
    return {**recipe, "coefficients": {**recipe.get("coefficients", {}), Term.POLICY.value: 0.0}}


def _why_not(plan: ExperimentPlan, settings: Settings) -> str | None:
    """Why the plan cannot be run here; None where it can."""
    if plan.batch > settings.learning.events_max:
        return f"{plan.batch} outcomes in a step; learning.events_max is {settings.learning.events_max}"
    if (rank := recipe_from(plan.recipe).rank) > settings.engine.rank_max:
        return f"rank {rank}; engine.rank_max is {settings.engine.rank_max}"
    if plan.learns_from is LearnsFrom.OUTCOMES and plan.samples < 2:
        return "samples: at least 2, for outcomes are compared with each other"
    if plan.learns_from is LearnsFrom.OUTCOMES and plan.measured:
        return 'measured: every outcome would teach; it needs learns_from = "corrections"'
    return None


def _refused(reason: str) -> CommandFailed:
    return CommandFailed(reason, ExitCode.USAGE)
