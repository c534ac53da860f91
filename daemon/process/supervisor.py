"""`clorad run`: runs the roles as child processes, and restarts one that ends while the others go on.

Nothing depends on it for correctness: the roles meet only in the ledger and the store, and each may be
killed at any moment. It is for one machine; in a fleet the orchestrator does the same.
"""

import math
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import Event

import structlog

from daemon.exit_codes import ExitCode
from daemon.process.failpoints import FAILPOINT_VARIABLE

log = structlog.get_logger(__name__)

TICK_S = 0.1
STOP_S_MAX = 8.0
"""Seconds that a child may take to stop, unless its `stop_s_max` says otherwise."""

STOP_ORDER = (("dashboard",), ("intake", "learner"), ("fleet",), ("gateway",))
"""The order of stopping. The dashboard is first: nobody decides while roles stop. Intake and learner are
next, because they make work for others; then the fleet role, which sends the messages of intake's last
transaction; the gateway is last: users wait for its answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildProcess:
    """One process to keep running."""

    name: str
    command: tuple[str, ...]
    stop_s_max: float = STOP_S_MAX  # after SIGTERM; then it is killed
    is_needed: bool = True  # where it refuses, the others are stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartDelays:
    """How long a child that died waits for its next start."""

    first_s: float = 0.5
    longest_s: float = 30.0
    calm_s: float = 60.0  # after running so long, a child's earlier deaths no longer count

    def delay_s(self, deaths: int, chance: float) -> float:
        """Seconds to wait: doubled with every death in a row. `chance` in [0, 1) spreads them over the upper
        half, so that roles that died of one cause do not start at one moment."""
        assert deaths >= 1
        assert 0.0 <= chance < 1.0
        full_s = min(self.longest_s, self.first_s * 2.0 ** min(deaths - 1, 30))
        return full_s * (0.5 + chance / 2)


@dataclass(slots=True, kw_only=True)
class _ChildState:
    """A child with its process, or with the time of its next start."""

    child: ChildProcess
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    due_s: float = 0.0
    deaths: int = 0


class Supervisor:
    """Keeps children running until `stopping` is set, then stops them all, in order."""

    def __init__(
        self,
        children: Sequence[ChildProcess],
        *,
        delays: RestartDelays | None = None,
        stop_order: Sequence[Sequence[str]] = STOP_ORDER,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._states = {child.name: _ChildState(child=child) for child in children}
        assert set(self._states) <= {name for stage in stop_order for name in stage}, "all can be stopped"
        self._delays = delays or RestartDelays()
        self._stop_order = stop_order
        self._chance = chance

    def run(self, stopping: Event) -> int:
        """Run until `stopping` is set. Returns 0, or 78 if a child refused that is needed.

        When a child refuses, the others are stopped. Only a gateway that has run for a while goes on, because
        it serves users, until `stopping` is set or it refuses too.
        """
        refused = False
        try:
            while self._states:
                refuser = next(filter(None, map(self._check, self._states.values())), None)
                if refuser is not None:
                    refused = True
                    self._stop_others(refuser)
                if stopping.wait(TICK_S):
                    break
        finally:
            self._stop(self._states)
        return ExitCode.CHANGE_NEEDED if refused else ExitCode.DONE

    def _stop_others(self, refuser: str) -> None:
        """Forget the child that refused, and stop all others but a gateway that has run for a while."""
        del self._states[refuser]
        calm_since_s = time.monotonic() - self._delays.calm_s
        staying = {
            name
            for name in self._stop_order[-1]
            if name in self._states
            and self._states[name].process is not None
            and self._states[name].started_s <= calm_since_s
        }
        log.critical(
            "a role refused to go on, its own line says why; the others are stopped",
            refused=refuser,
            but=sorted(staying),
        )
        stopped = self._states.keys() - staying
        self._stop(stopped)
        for name in stopped:
            del self._states[name]

    def _check(self, state: _ChildState) -> str | None:
        """Start the child if it is due, note its death if it died. Returns its name if it refused to run."""
        now = time.monotonic()
        if state.process is None:
            if now >= state.due_s:
                self._start(state, now)
            return None
        code = state.process.poll()
        if code is None:
            return None
        _signal(state, signal.SIGKILL, whole_group=True)  # also processes that it started
        state.process = None
        if code == ExitCode.CHANGE_NEEDED:
            if state.child.is_needed or len(self._states) == 1:
                return state.child.name
            state.due_s = math.inf
            log.error(
                "a role refused to go on, its own line says why; the others do", refused=state.child.name
            )
            return None
        self._note_death(state, how=_how(code), now=now)
        return None

    def _start(self, state: _ChildState, now: float) -> None:
        try:
            # A process group of its own: Ctrl-C reaches the supervisor alone, which stops children in order.
            state.process = subprocess.Popen(
                state.child.command,
                env=_environment(state),
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as fault:  # the machine has no memory or no process numbers: try again
            self._note_death(state, how=type(fault).__name__, now=now)
            return
        state.started_s = now
        log.info("role process started", child=state.child.name, child_pid=state.process.pid)

    def _note_death(self, state: _ChildState, *, how: str, now: float) -> None:
        lived_s = now - state.started_s
        state.deaths = 1 if lived_s >= self._delays.calm_s else state.deaths + 1
        delay_s = self._delays.delay_s(state.deaths, self._chance())
        state.due_s = now + delay_s
        log.error(
            "role process died",
            child=state.child.name,
            how=how,
            lived_s=round(lived_s, 1),
            deaths_in_a_row=state.deaths,
            restart_in_s=round(delay_s, 2),
        )

    def _stop(self, names: Collection[str]) -> None:
        """Send SIGTERM stage after stage, and kill a child with its own children if it takes too long."""
        for stage in self._stop_order:
            chosen = [self._states[name] for name in stage if name in names]
            running = [
                state for state in chosen if state.process is not None and state.process.poll() is None
            ]
            for state in running:
                _signal(state, signal.SIGTERM, whole_group=False)
            signalled_s = time.monotonic()
            for state in running:
                _wait_until(state, signalled_s + state.child.stop_s_max)
        for name in names:
            state = self._states[name]
            if state.process is not None:
                _signal(state, signal.SIGKILL, whole_group=True)  # also processes that a child left
                state.process.wait(timeout=STOP_S_MAX)


def _wait_until(state: _ChildState, deadline_s: float) -> None:
    assert state.process is not None
    try:
        code = state.process.wait(timeout=max(0.0, deadline_s - time.monotonic()))
        log.info("role process stopped", child=state.child.name, how=_how(code))
    except subprocess.TimeoutExpired:
        log.error("role process did not stop in time, killing it", child=state.child.name)
        _signal(state, signal.SIGKILL, whole_group=True)


def _environment(state: _ChildState) -> dict[str, str]:
    """The environment of its next start, without the failpoint if the child died: it kills one process
    only."""
    environment = dict(os.environ)
    if state.deaths:
        environment.pop(FAILPOINT_VARIABLE, None)
    return environment


def _signal(state: _ChildState, number: signal.Signals, *, whole_group: bool) -> None:
    assert state.process is not None
    try:
        if whole_group:
            os.killpg(state.process.pid, number)
        else:
            state.process.send_signal(number)
    except ProcessLookupError:
        pass


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
