"""Environments are processes: they get orders, answer, die, and are started again."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.commands.experiments.environments import EnvironmentProcess, OrderDone

ORDER = {"experiment": "sum", "step": 1}
ANSWERS = (
    "import sys, json\nprint('hello', flush=True)\nfor line in sys.stdin:\n"
    "    order = json.loads(line)\n"
    "    print(json.dumps({**order, 'rollouts': 3, 'failed': 1}), flush=True)\n"
)
DIES = "import sys\nsys.stdin.readline()\nsys.exit('boom')\n"
Start = Callable[..., EnvironmentProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def build(script: str, *, restarts_max: int = 0) -> EnvironmentProcess:
        command = ["python", "-c", script]
        environment = EnvironmentProcess(command, {"key": "k"}, tmp_path / "log", restarts_max=restarts_max)
        started.append(environment)
        return environment

    yield build
    for environment in started:
        environment.stop()


def wait_until(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 30.0
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_an_environment_answers_orders_and_ends_when_it_is_stopped(start: Start) -> None:
    environment = start(ANSWERS)
    assert environment.order(ORDER)
    wait_until(lambda: environment.done("sum", 1) is not None)
    assert environment.done("sum", 1) == OrderDone(rollouts=3, failed=1)
    assert environment.done("sum", 2) is None
    environment.stop()
    assert not environment.is_alive()


def test_one_that_dies_is_started_again_as_often_as_allowed(start: Start) -> None:
    environment = start(DIES, restarts_max=1)
    for _ in range(2):
        environment.order(ORDER)
        wait_until(lambda: not environment.is_alive())
    assert environment.starts == 2
    assert not environment.order(ORDER)
    assert environment.obituary() == "the environment ended with 1: boom"


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    environment = EnvironmentProcess(["no-such-command"], {}, tmp_path / "log", restarts_max=0)
    assert not environment.order(ORDER)
    assert "no-such-command" in environment.obituary()
