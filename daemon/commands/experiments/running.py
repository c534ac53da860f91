"""`clorad experiment run`: several experiments at once, on the roles, the base and the replicas that run."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.commands.experiments.course import BUDGET_USED, ExperimentCourse
from daemon.commands.experiments.curves import write_page
from daemon.commands.experiments.environments import EnvironmentProcess
from daemon.commands.experiments.plan import ExperimentFile, ExperimentPlan, read_plan
from daemon.commands.experiments.results import ResultFile, StepResult, all_results, results_of, stop_file
from daemon.commands.ledger import opened
from daemon.console import CommandFailed, console, show_json
from daemon.declaring import BaseMissing, hash_of_base
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from ledger.access.keys import create_key, revoke_keys
from ledger.access.rights import Grant, Right
from ledger.database import Database
from ledger.experiments.steps import begin_mark
from ledger.learning.agents import Agent, all_agents, declare, set_events_min
from ledger.versions.gate_modes import GateMode

POLL_S = 0.05
KEY_DAYS = 30.0
_RIGHTS = frozenset({Right.TALK, Right.READ, Right.EXPERIMENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the person who runs experiments chooses."""

    at_once: int | None  # None: as the file says, else all
    gateway: str | None  # URL; None: this machine's
    by: str


def run(settings: Settings, path: Path, options: RunOptions, *, as_json: bool) -> int:
    """Run the experiments of a file to their ends. Returns the exit code: 1 where one ended early."""
    file = read_plan(path, settings, at_once=options.at_once)
    folder = settings.experiments.path
    with opened(settings) as database, ExitStack() as stack:
        results = {plan.name: results_of(folder, plan) for plan in file.plans}
        plans = [plan for plan in file.plans if not _is_over(results[plan.name], plan)]
        _declare(settings, database, plans)
        for plan in plans:
            stop_file(folder, plan.name).unlink(missing_ok=True)
            _begin(database, results[plan.name], plan)
        if plans:
            surroundings = stack.enter_context(_surroundings(settings, database, file, options))
            environments = _environments(settings, plans, surroundings, folder / file.name)
            for environment in environments.values():
                stack.callback(environment.stop)
            courses = [
                ExperimentCourse(
                    plan,
                    results[plan.name],
                    environments[plan.environment],
                    settings.experiments,
                    set_events_min=lambda agent, events_min: set_events_min(database, agent, events_min),
                )
                for plan in plans
            ]
            _run_courses(database, courses, at_once=file.at_once, quiet=as_json)
        page = write_page(folder, all_results(folder))
    if as_json:
        show_json(
            [
                {"experiment": name, "end": experiment.end, "steps": experiment.steps}
                for name, experiment in results.items()
            ]
        )
    else:
        console().print(f"results and curves: {page}")
    return int(
        ExitCode.DONE
        if all(experiment.end == BUDGET_USED for experiment in results.values())
        else ExitCode.FAILED
    )


def _is_over(results: ResultFile, plan: ExperimentPlan) -> bool:
    """Whether its steps are done. One that ended otherwise goes on, and so does one that was given more."""
    return results.end == BUDGET_USED and len(results.steps) >= plan.steps


def _declare(settings: Settings, database: Database, plans: Sequence[ExperimentPlan]) -> None:
    """Make the experiments' agents known. Raises `CommandFailed` where a name is another agent's."""
    try:
        base_hash = hash_of_base(settings.engine.base, settings.store.path)
    except BaseMissing as missing:
        raise CommandFailed(str(missing), ExitCode.CHANGE_NEEDED) from None
    with database.read() as connection:
        known = all_agents(connection)
    for plan in plans:
        if plan.name in settings.agents or (plan.name in known and known[plan.name].gate is not GateMode.OFF):
            raise CommandFailed(
                f"{plan.name} is an agent that users talk to: give the experiment another name"
            )
    for plan in plans:
        agent = Agent(
            name=plan.name,
            base_hash=base_hash,
            recipe=dict(plan.recipe),
            capture=True,
            gate=GateMode.OFF,
            events_min=plan.events_min,
        )
        try:
            declare(database, agent)
        except ValueError as refusal:
            raise CommandFailed(str(refusal)) from None


def _begin(database: Database, results: ResultFile, plan: ExperimentPlan) -> None:
    results.end = None
    if not results.plan:
        with database.read() as connection:
            mark = begin_mark(connection, plan.name)
        results.begin(plan, mark, now_s=time.time())


@contextmanager
def _surroundings(
    settings: Settings, database: Database, file: ExperimentFile, options: RunOptions
) -> Iterator[Mapping[str, Any]]:
    """What environments talk to, with a key of their own that is revoked at the end."""
    host = "127.0.0.1" if settings.gateway.host in ("0.0.0.0", "::") else settings.gateway.host
    agents = frozenset(plan.name for plan in file.plans)
    grant = Grant(name="experiment", agents=agents, rights=_RIGHTS)
    key, text = create_key(database, grant, by=options.by, lifetime_s=KEY_DAYS * 86_400, another=True)
    try:
        yield {
            "gateway": options.gateway or f"http://{host}:{settings.gateway.port}",
            "key": text.text,
            "bootstrap": settings.kafka.bootstrap_servers,
            "kafka_options": dict(settings.kafka.options),
            "folder": str(settings.experiments.path / file.name),
        }
    finally:
        revoke_keys(database, key_id=key.id)


def _environments(
    settings: Settings, plans: Sequence[ExperimentPlan], surroundings: Mapping[str, Any], folder: Path
) -> dict[tuple[str, ...], EnvironmentProcess]:
    """One environment for each command: experiments share it."""
    commands = dict.fromkeys(plan.environment for plan in plans)
    folder.mkdir(parents=True, exist_ok=True)
    return {
        command: EnvironmentProcess(
            command,
            surroundings,
            folder / f"environment-{number}.log",
            restarts_max=settings.experiments.restarts_max,
        )
        for number, command in enumerate(commands)
    }


def _run_courses(
    database: Database, courses: Sequence[ExperimentCourse], *, at_once: int, quiet: bool
) -> None:
    """Run so many at once, in order, until all are over. The page has every step that is over."""
    while running := [course for course in courses if course.results.end is None][:at_once]:
        for course in running:
            with database.read() as connection:
                ended = course.poll(connection, time.time())
            if ended is not None and not quiet:
                console().print(_line(course, ended))
            if ended is not None:
                write_page(course.folder, [experiment.results for experiment in courses])
            if course.results.end is not None and not quiet:
                console().print(f"{course.plan.name}: {course.results.end}")
        time.sleep(POLL_S)


def _line(course: ExperimentCourse, step: StepResult) -> str:
    bar = "█" * round(20 * step.step / course.plan.steps)
    measures = "".join(f", {name} {mean:.3f}" for name, mean in step.measures.items())
    parts = f"rollouts {step.rollout_s:.1f}, wait {step.wait_s:.1f}, train {step.train_s:.1f}"
    notes = f"; {'; '.join(step.notes)}" if step.notes else ""
    return (
        f"{course.plan.name:<20} {bar:<20} {step.step}/{course.plan.steps}"
        f"  reward {step.reward:.3f}{measures}  {step.step_s:.1f} s ({parts}, swap {step.swap_s:.1f}){notes}"
    )
