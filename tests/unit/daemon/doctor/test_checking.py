"""Checks are made side by side, in a bounded time, and none prevents those of another group."""

import threading
from collections.abc import Iterator

import pytest

from daemon.doctor.checking import CheckGroup, CheckState, HealthCheck, Undone, run_checks
from daemon.doctor.faults import Fault, FoundFault


def passes() -> Iterator[FoundFault]:
    yield from ()


def breaks() -> Iterator[FoundFault]:
    yield Fault.NO_AGENT.at("here", "found before it broke")
    raise KeyError("token=s3cret")


def cannot() -> Iterator[FoundFault]:
    raise Undone("nothing to ask")
    yield


def test_a_check_that_breaks_is_a_finding_and_prevents_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = CheckGroup(
        name="first", checks=(HealthCheck(name="a", run=breaks), HealthCheck(name="b", run=passes))
    )
    second = CheckGroup(name="second", checks=(HealthCheck(name="c", run=cannot),))
    a, b, c = run_checks([first, second])
    assert [finding.name for finding in a.findings] == ["agents-none", "doctor-failed"]
    assert (b.state, c.state, c.why) == (CheckState.OK, CheckState.SKIPPED, "nothing to ask")
    shown = capsys.readouterr().err
    assert "Traceback" in shown, "a fault of ours can be looked for"
    assert "s3cret" not in shown


def test_a_check_that_hangs_ends_its_group_only() -> None:
    released, closed = threading.Event(), threading.Event()

    def hangs() -> Iterator[FoundFault]:
        released.wait(30.0)
        yield Fault.NO_AGENT.at("late", "too late to be heard")

    checks = (HealthCheck(name="slow", run=hangs, s_max=0.05), HealthCheck(name="next", run=passes))
    hanging = CheckGroup(name="disk", checks=checks, close=closed.set)
    quick = CheckGroup(name="other", checks=(HealthCheck(name="quick", run=passes),))
    slow, after, other = run_checks([hanging, quick])
    assert [finding.name for finding in slow.findings] == ["doctor-slow"]
    assert (after.state, after.why) == (CheckState.SKIPPED, "the check before it did not end")
    assert other.state is CheckState.OK
    released.set()
    assert closed.wait(5.0), "what the group opened is closed once the check has ended"


def test_each_check_is_told_when_it_begins() -> None:
    steps: list[str] = []
    group = CheckGroup(
        name="g", checks=(HealthCheck(name="one", run=passes), HealthCheck(name="two", run=passes))
    )
    run_checks([group], began=steps.append)
    assert steps == ["g: one", "g: two"]
