"""What all tests share: which parts must have run, what runs in one process, fixtures of the real parts."""

import gc
import os
from collections import Counter

import pytest

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before anything loads torch

pytest_plugins = ["tests.kafka_broker", "tests.shop_world", "tests.vllm_server"]

_ran: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-run",
        action="append",
        default=[],
        metavar="MARKER=N",
        help="fail unless at least N tests with this marker really ran",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the test its group: `pytest -n N --dist loadgroup` runs a group in one process.

    Tests that share a server form one group, so that the server starts once; other tests are grouped by file.
    xdist reads the groups when all is collected, before `pytest_collection_modifyitems` of this file runs.
    """
    item.add_marker(pytest.mark.xdist_group(_group_of(item)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run where xdist did not take over the groups: every test would start servers of its own."""
    gc.collect()
    gc.freeze()  # what is loaded by now stays: the garbage collector need not search it again and again
    if not getattr(session.config.option, "loadgroup", False):
        return
    ungrouped = [item.nodeid for item in session.items if not item.nodeid.endswith(f"@{_group_of(item)}")]
    if ungrouped:
        raise pytest.UsageError(f"xdist has no group for {ungrouped[0]}: which versions of pytest and xdist?")


def _group_of(item: pytest.Item) -> str:
    path = item.nodeid.partition("::")[0]
    folder = path.split("/")[1]
    if folder == "acceptance":
        return folder  # it starts servers of its own
    shared = [marker for marker in ("vllm", "kafka") if item.get_closest_marker(marker)]
    if folder == "faults":
        shared.append("kafka")
    return shared[0] if shared else path


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what ran by marker. Under xdist the controller sees the reports of all processes."""
    if report.when == "call" and not report.skipped:
        _ran.update(name for name in report.keywords)


def pytest_sessionfinish(session: pytest.Session) -> None:
    missing = _missing(session.config)
    if missing and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    for line in _missing(config):
        terminalreporter.write_line(f"FAILED {line}", red=True)


def _missing(config: pytest.Config) -> list[str]:
    if hasattr(config, "workerinput"):
        return []  # the controller counts
    lines = []
    for demand in config.getoption("--require-run"):
        marker, _, least = demand.partition("=")
        if _ran[marker] < int(least):
            lines.append(f"only {_ran[marker]} tests marked {marker} ran; {least} are required")
    return lines
