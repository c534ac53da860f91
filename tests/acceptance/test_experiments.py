"""Four experiments at once on real Kafka and vLLM, while the learner, the gateway and the replica are killed.

Every experiment ends as planned. What its results say is compared with the ledger: each outcome is taught
once, each version is made from the one before, and the rewards are those of the outcomes. Two others learn
from corrections while the learner is killed: each is taught once, and outcomes teach nothing.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import pytest
from sqlalchemy import func, select

from daemon.learning.turns.staleness import NO_POLICY
from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.stack import READY_S_MAX, Stack
from ledger.database import Connection, Database
from ledger.events import Kind, Status
from ledger.schema import events, interactions, turn_events, turns
from ledger.turn_states import TurnPart, TurnState
from ledger.versions.lineage import version_name, versions_of

NAMES = ("sum-once", "mean-once", "share-once", "before-once")
GROUPS, SAMPLES, STEPS = 3, 4, 3
BATCH = GROUPS * SAMPLES
RUN_S_MAX = 400.0
FILE = f"""
environment = ["python", "-m", "examples.experiments.sums"]
groups = {GROUPS}
samples = {SAMPLES}
steps = {STEPS}
[recipe]
learning_rate = 3e-3
steps = 1
steps_min = 1
""" + "".join(f'[experiments.{name}.options]\nfamily = "{name.removesuffix("-once")}"\n' for name in NAMES)
TAUGHT = ("taught", "taught-plainly")
PROMPTS, MEASURED = 16, 6
TAUGHT_FILE = f"""
environment = ["python", "-m", "examples.experiments.corrections"]
learns_from = "corrections"
groups = {PROMPTS}
samples = 1
measured = {MEASURED}
steps = 2
[recipe]
learning_rate = 1.75e-3
steps = 6
steps_min = 6
[experiments.{TAUGHT[0]}]
[experiments.{TAUGHT[1]}.recipe]
anchors_per_step = 0
"""

pytestmark = [pytest.mark.kafka, pytest.mark.vllm, pytest.mark.timeout(900)]

Process = subprocess.Popen[str]


@pytest.fixture
def file() -> str:
    """The experiments of a test."""
    return FILE


@pytest.fixture
def run(stack: Stack, tmp_path: Path, file: str) -> Iterator[Process]:
    """`clorad experiment run` while it runs."""
    (tmp_path / "some.toml").write_text(file)
    words = ["--config", str(stack.config), "experiment", "run", str(tmp_path / "some.toml"), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", *words],
        env={**os.environ, "CLORAD_EXPERIMENTS__PATH": str(tmp_path / "results")},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def ledger(stack: Stack) -> Iterator[Database]:
    database = Database(stack.ledger_url)
    yield database
    database.close()


def kill_role(stack: Stack, name: str) -> None:
    """Kill a role's process as a crash does; `clorad run` starts it again."""
    [process] = [
        child
        for child in psutil.Process(stack.roles["run"].pid).children()
        if child.status() != psutil.STATUS_ZOMBIE and name in child.cmdline()
    ]
    process.send_signal(signal.SIGKILL)


def wait_until(is_so: Callable[[], bool], run: Process) -> None:
    until_s = time.monotonic() + RUN_S_MAX
    while not is_so():
        assert run.poll() is None, "the experiments ended before anything was killed"
        assert time.monotonic() < until_s
        time.sleep(0.02)


def turns_of(ledger: Database, state: TurnState, names: Sequence[str] = NAMES) -> int:
    """How many turns of the experiments are in that state."""
    query = select(func.count()).where(turns.c.agent.in_(names), turns.c.state == state.value)
    with ledger.read() as connection:
        return int(connection.scalar(query) or 0)


def outcomes_of(ledger: Database) -> int:
    query = select(func.count()).where(events.c.agent.in_(NAMES))
    with ledger.read() as connection:
        return int(connection.scalar(query) or 0)


def times_taught(connection: Connection, agent: str) -> Mapping[int, int]:
    """How many versions each event was taught to as a new one, by its number."""
    query = (
        select(turn_events.c.event_seq)
        .join(turns, turns.c.id == turn_events.c.turn_id)
        .where(turns.c.agent == agent, turns.c.state == TurnState.MADE.value)
        .where(turn_events.c.part == TurnPart.NEW.value)
    )
    return Counter(connection.scalars(query))


def values_by_version(connection: Connection, agent: str) -> Mapping[str, Sequence[float]]:
    """The values of the outcomes about each version's answers, one for each conversation."""
    query = (
        select(interactions.c.version, events.c.conversation, events.c.data)
        .join(interactions, interactions.c.id == events.c.interaction)
        .where(events.c.agent == agent)
    )
    rows = connection.execute(query).all()
    assert len({row.conversation for row in rows}) == len(rows), "no conversation is rewarded twice"
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row.version, []).append(float(row.data["value"]))
    return values


def check_against_ledger(connection: Connection, agent: str, steps: Sequence[Mapping[str, Any]]) -> None:
    """What the results say of an experiment is what the ledger has."""
    values = values_by_version(connection, agent)
    taught = times_taught(connection, agent)
    line = versions_of(connection, agent)
    assert set(taught.values()) == {1}, "an outcome was taught to more than one version"
    assert [version.parent for version in line] == [0, *(version.number for version in line[:-1])]
    served = ["v0", *(version_name(version.number, version.hash) for version in line)]
    changing = [step for step in steps if step["serves"] != step["version"]]
    assert [changing[0]["version"], *(step["serves"] for step in changing)] == served
    rewarded: Counter[str] = Counter()
    for step in steps:
        rewarded[step["version"]] += step["outcomes"]
        if len([other for other in steps if other["version"] == step["version"]]) == 1:
            assert step["reward"] == pytest.approx(fmean(values[step["version"]]), abs=1e-4)
    assert rewarded == {version: len(of_version) for version, of_version in values.items()}
    barren = sum(step["alike"] for step in steps)
    assert len(taught) + barren == sum(rewarded.values()), "each outcome is taught, or its group is alike"


def test_experiments_end_as_planned_although_learner_gateway_and_replica_are_killed(
    stack: Stack, gateway: GatewayClient, run: Process, ledger: Database
) -> None:
    wait_until(lambda: turns_of(ledger, TurnState.OPEN) > 0, run)
    kill_role(stack, "learner")  # its pass is open
    wait_until(lambda: turns_of(ledger, TurnState.MADE) >= len(NAMES), run)
    seen = outcomes_of(ledger)
    wait_until(lambda: outcomes_of(ledger) > seen, run)
    kill_role(stack, "gateway")  # conversations are being held
    wait_until(lambda: turns_of(ledger, TurnState.MADE) >= len(NAMES) + 1, run)
    [replica] = stack.replicas
    replica.kill()
    replica.start(ready_s_max=READY_S_MAX)  # it has no adapters
    printed, _ = run.communicate(timeout=RUN_S_MAX)
    results = {experiment["experiment"]: experiment for experiment in json.loads(printed)}
    assert run.returncode == 0, {name: result["end"] for name, result in results.items()}
    assert set(results) == set(NAMES)
    for name, result in results.items():
        steps = result["steps"]
        assert [step["step"] for step in steps] == list(range(1, STEPS + 1))
        assert [step["version"] for step in steps[1:]] == [step["serves"] for step in steps[:-1]]
        # A gateway that is killed loses the captures that Kafka does not have yet.
        assert [step["outcomes"] + step["missing"] for step in steps] == [BATCH] * STEPS
        with ledger.read() as connection:
            check_against_ledger(connection, name, steps)
        answer = gateway.ask(name, [{"role": "user", "content": "hello"}], captured=False)
        assert answer.version == "v0", "users are answered by no version that nobody judged"


def check_what_was_taught(connection: Connection, agent: str, steps: Sequence[Mapping[str, Any]]) -> None:
    """Each correction is taught once, and no outcome is."""
    kinds = dict(connection.execute(select(events.c.seq, events.c.kind).where(events.c.agent == agent)).all())
    taught = times_taught(connection, agent)
    corrections = [seq for seq, kind in kinds.items() if kind == Kind.CORRECTION]
    assert taught == dict.fromkeys(corrections, 1)
    assert len(corrections) == sum(step["corrections"] for step in steps)
    query = select(events.c.status, events.c.status_reason).where(
        events.c.agent == agent, events.c.kind == Kind.OUTCOME.value
    )
    assert set(connection.execute(query).all()) == {(Status.BARREN.value, NO_POLICY)}


@pytest.mark.parametrize("file", [TAUGHT_FILE], ids=["two that learn from corrections"])
def test_each_correction_is_taught_once_although_the_learner_is_killed(
    stack: Stack, run: Process, ledger: Database
) -> None:
    wait_until(lambda: turns_of(ledger, TurnState.OPEN, TAUGHT) > 0, run)
    kill_role(stack, "learner")  # its pass is open
    printed, _ = run.communicate(timeout=RUN_S_MAX)
    results = {experiment["experiment"]: experiment for experiment in json.loads(printed)}
    assert run.returncode == 0, {name: result["end"] for name, result in results.items()}
    for name in TAUGHT:
        first, second = results[name]["steps"]
        assert (first["version"], second["version"]) == ("v0", first["serves"])
        for step in (first, second):
            assert (step["outcomes"], step["missing"], set(step["measures"])) == (
                PROMPTS,
                0,
                {"near", "wave-1"},
            )
        assert first["corrections"] == round(PROMPTS * (1.0 - first["reward"])), "every wrong answer"
        assert first["measures"]["wave-1"] == 0.0, "the base knows no rule"
        with ledger.read() as connection:
            check_what_was_taught(connection, name, [first, second])
