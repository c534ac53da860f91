"""What all tests share: which parts must have run, and fixtures of the real parts."""

import os
from collections import Counter

import pytest

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before anything loads torch

pytest_plugins = ["tests.kafka_broker", "tests.vllm_server"]

_ran: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-run",
        action="append",
        default=[],
        metavar="MARKER=N",
        help="fail unless at least N tests with this marker really ran",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and not report.skipped:
        for marker in {marker.name for marker in item.iter_markers()}:
            _ran[marker] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    missing = _missing(session.config)
    if missing and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    for line in _missing(config):
        terminalreporter.write_line(f"FAILED {line}", red=True)


def _missing(config: pytest.Config) -> list[str]:
    lines = []
    for demand in config.getoption("--require-run"):
        marker, _, least = demand.partition("=")
        if _ran[marker] < int(least):
            lines.append(f"only {_ran[marker]} tests marked {marker} ran; {least} are required")
    return lines
