"""Runs checks: groups of them side by side, the checks of one group in order, each for a bounded time.

A check that breaks, or that takes too long, is a finding itself, and prevents no check of another group.
"""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType

from daemon.doctor.faults import Fault, FoundFault
from daemon.masking import mask

CHECK_S_MAX = 45.0
"""Seconds that a check may take if it names no other time: several requests, each with a bound of its own."""


class Undone(Exception):
    """The check cannot be made here. The text is the reason, in one line for people."""


class CheckState(StrEnum):
    """What became of a check."""

    OK = "ok"
    FOUND = "found"
    """It found a fault."""
    SKIPPED = "skipped"
    """It could not be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One small question about an installation. `run` gives the faults, or raises `Undone`."""

    name: str  # in words for people
    run: Callable[[], Iterable[FoundFault]]
    s_max: float = CHECK_S_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What became of one check."""

    group: str
    name: str
    state: CheckState
    seconds: float
    why: str = ""  # it was skipped
    findings: tuple[FoundFault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckGroup:
    """Checks about one thing, made one after the other."""

    name: str
    checks: Sequence[HealthCheck]
    close: Callable[[], None] = lambda: None  # called after the last check


def run_checks(
    groups: Sequence[CheckGroup], *, began: Callable[[str], None] = lambda _: None
) -> list[CheckResult]:
    """Make all checks. Returns the results in the order of the groups. `began` hears the name of each."""
    changed = threading.Condition()
    runs = [_GroupRun(group, changed, began) for group in groups]
    for run in runs:
        run.start()
    with changed:
        while any(run.is_open for run in runs):
            now_s = time.monotonic()
            for run in runs:
                run.give_up_after(now_s)
            deadlines_s = [run.deadline_s for run in runs if run.is_open]
            if deadlines_s:
                changed.wait(max(0.01, min(deadlines_s) - now_s))
    for run in runs:
        run.leave()
    return [result for run in runs for result in run.results]


@dataclass(slots=True)
class _Caught:
    """Keeps what its block raised, and lets the thread go on: the fault is a result."""

    fault: BaseException | None = None

    def __enter__(self) -> "_Caught":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.fault = fault
        return True


@dataclass(slots=True, eq=False)
class _GroupRun:
    """The checks of one group in a thread, which does not keep the process from ending if one hangs."""

    group: CheckGroup
    changed: threading.Condition
    began: Callable[[str], None]
    results: list[CheckResult] = field(default_factory=list)
    deadline_s: float = float("inf")
    _started_s: float = 0.0
    _thread: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        return len(self.results) < len(self.group.checks)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"doctor-{self.group.name}", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Wait a moment for the thread to close what it opened; one that hangs is left."""
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def give_up_after(self, now_s: float) -> None:
        """End the group if its check takes too long. The caller holds `changed`."""
        if not self.is_open or now_s < self.deadline_s:
            return
        late, *others = self.group.checks[len(self.results) :]
        text = f"the check of {late.name} did not end within {late.s_max:.0f} s"
        finding = Fault.CHECK_SLOW.at(self.group.name, text)
        self.results.append(self._result(late, CheckState.FOUND, late.s_max, findings=(finding,)))
        self.results += [
            self._result(check, CheckState.SKIPPED, 0.0, why="the check before it did not end")
            for check in others
        ]

    def _run(self) -> None:
        with ExitStack() as stack:
            stack.callback(self.group.close)
            self._make_all()

    def _make_all(self) -> None:
        for place, check in enumerate(self.group.checks):
            with self.changed:
                if len(self.results) != place:  # given up meanwhile
                    return
                self._started_s = time.monotonic()
                self.deadline_s = self._started_s + check.s_max
                self.changed.notify_all()
            self.began(f"{self.group.name}: {check.name}")
            result = self._made(check)
            with self.changed:
                if len(self.results) == place:
                    self.results.append(result)
                self.changed.notify_all()

    def _made(self, check: HealthCheck) -> CheckResult:
        findings: list[FoundFault] = []
        with _Caught() as caught:
            findings.extend(check.run())
        seconds = time.monotonic() - self._started_s
        if isinstance(caught.fault, Undone):
            return self._result(check, CheckState.SKIPPED, seconds, why=str(caught.fault))
        if caught.fault is not None:
            sys.stderr.write(mask("".join(traceback.format_exception(caught.fault))))
            text = f"the check of {check.name} broke: {type(caught.fault).__name__}"
            findings.append(Fault.CHECK_FAILED.at(self.group.name, text))
        state = CheckState.FOUND if findings else CheckState.OK
        return self._result(check, state, seconds, findings=tuple(findings))

    def _result(
        self,
        check: HealthCheck,
        state: CheckState,
        seconds: float,
        *,
        why: str = "",
        findings: tuple[FoundFault, ...] = (),
    ) -> CheckResult:
        return CheckResult(
            group=self.group.name,
            name=check.name,
            state=state,
            seconds=seconds,
            why=why,
            findings=findings,
        )
