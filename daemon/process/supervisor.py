"""`clorad run`: the four roles as child processes. One that dies is started again; the others do not notice.

Nothing here is needed for correctness: the roles meet only in the ledger and the store, and each may be
killed at any moment. This is for one machine; in a fleet the orchestrator does the same.
"""

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
"""How long a child may take to stop unless it is said that it may take longer."""

STOP_ORDER = (("intake", "learner"), ("fleet",), ("gateway",))
"""Who is asked to stop after whom. First those who make work for others; then the fleet role, which ships
what intake's last transaction owes to Kafka; the gateway last, because people wait for its answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildProcess:
    """One process to keep running."""

    name: str
    command: tuple[str, ...]
    stop_s_max: float = STOP_S_MAX  # from being asked to; then it is killed


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a child that died waits for its next start."""

    first_s: float = 0.5
    longest_s: float = 30.0
    calm_s: float = 60.0  # having lived so long, its earlier deaths are forgotten

    def delay_s(self, deaths: int, chance: float) -> float:
        """Doubles with every death in a row; `chance` in [0, 1) spreads it over the upper half, so that
        roles that died of one cause do not come back at one instant."""
        assert deaths >= 1
        assert 0.0 <= chance < 1.0
        full_s = min(self.longest_s, self.first_s * 2.0 ** min(deaths - 1, 30))
        return full_s * (0.5 + chance / 2)


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A child and how it is doing: running, or due to be started."""

    child: ChildProcess
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    due_s: float = 0.0
    deaths: int = 0


class Supervisor:
    """Keeps children running until told to stop, then stops them in order and leaves none behind."""

    def __init__(
        self,
        children: Sequence[ChildProcess],
        *,
        patience: Patience | None = None,
        stop_order: Sequence[Sequence[str]] = STOP_ORDER,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._kept = {child.name: _Kept(child=child) for child in children}
        assert set(self._kept) <= {name for stage in stop_order for name in stage}, "everyone is stopped"
        self._patience = patience or Patience()
        self._stop_order = stop_order
        self._chance = chance

    def run(self, stopping: Event) -> int:
        """Returns 0 once stopped as asked, 78 where a child said that starting it again cannot help.

        Then the others are stopped, but for who serves people and has been up for a while: it goes on until
        we are told to stop, or it refuses too.
        """
        refused = False
        try:
            while self._kept:
                refuser = next(filter(None, map(self._look_after, self._kept.values())), None)
                if refuser is not None:
                    refused = True
                    self._let_go(refuser)
                if stopping.wait(TICK_S):
                    break
        finally:
            self._stop(self._kept)
        return ExitCode.CHANGE_NEEDED if refused else ExitCode.DONE

    def _let_go(self, refuser: str) -> None:
        """Who refused is gone, and with it all whom nobody would miss at once."""
        del self._kept[refuser]
        calm_since_s = time.monotonic() - self._patience.calm_s
        staying = {
            name
            for name in self._stop_order[-1]
            if name in self._kept
            and self._kept[name].process is not None
            and self._kept[name].started_s <= calm_since_s
        }
        log.critical(
            "a role refused to go on, its own line says why; the others are stopped",
            refused=refuser,
            but=sorted(staying),
        )
        leaving = self._kept.keys() - staying
        self._stop(leaving)
        for name in leaving:
            del self._kept[name]

    def _look_after(self, kept: _Kept) -> str | None:
        """Start the child if it is due, note its death if it died. Returns its name if it refused to run."""
        now = time.monotonic()
        if kept.process is None:
            if now >= kept.due_s:
                self._start(kept, now)
            return None
        code = kept.process.poll()
        if code is None:
            return None
        _signal(kept, signal.SIGKILL, whole_group=True)  # what it may have started itself
        kept.process = None
        if code == ExitCode.CHANGE_NEEDED:
            return kept.child.name
        self._note_death(kept, how=_how(code), now=now)
        return None

    def _start(self, kept: _Kept, now: float) -> None:
        try:
            # A process group of its own: Ctrl-C reaches us alone, and we ask the children in order.
            kept.process = subprocess.Popen(
                kept.child.command,
                env=_environment(kept),
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as fault:  # no memory or no process numbers: the machine's trouble, try again
            self._note_death(kept, how=type(fault).__name__, now=now)
            return
        kept.started_s = now
        log.info("role process started", child=kept.child.name, child_pid=kept.process.pid)

    def _note_death(self, kept: _Kept, *, how: str, now: float) -> None:
        lived_s = now - kept.started_s
        kept.deaths = 1 if lived_s >= self._patience.calm_s else kept.deaths + 1
        delay_s = self._patience.delay_s(kept.deaths, self._chance())
        kept.due_s = now + delay_s
        log.error(
            "role process died",
            child=kept.child.name,
            how=how,
            lived_s=round(lived_s, 1),
            deaths_in_a_row=kept.deaths,
            restart_in_s=round(delay_s, 2),
        )

    def _stop(self, names: Collection[str]) -> None:
        """Ask stage after stage to stop; whatever is left after its time is killed with its children."""
        for stage in self._stop_order:
            asked = [self._kept[name] for name in stage if name in names]
            running = [kept for kept in asked if kept.process is not None and kept.process.poll() is None]
            for kept in running:
                _signal(kept, signal.SIGTERM, whole_group=False)
            asked_s = time.monotonic()
            for kept in running:
                _wait_until(kept, asked_s + kept.child.stop_s_max)
        for name in names:
            kept = self._kept[name]
            if kept.process is not None:
                _signal(kept, signal.SIGKILL, whole_group=True)  # also what a child left behind
                kept.process.wait(timeout=STOP_S_MAX)


def _wait_until(kept: _Kept, deadline_s: float) -> None:
    assert kept.process is not None
    try:
        code = kept.process.wait(timeout=max(0.0, deadline_s - time.monotonic()))
        log.info("role process stopped", child=kept.child.name, how=_how(code))
    except subprocess.TimeoutExpired:
        log.error("role process did not stop in time, killing it", child=kept.child.name)
        _signal(kept, signal.SIGKILL, whole_group=True)


def _environment(kept: _Kept) -> dict[str, str]:
    """Of its next start. A failpoint kills the process it was armed for, not the one started instead."""
    environment = dict(os.environ)
    if kept.deaths:
        environment.pop(FAILPOINT_VARIABLE, None)
    return environment


def _signal(kept: _Kept, number: signal.Signals, *, whole_group: bool) -> None:
    assert kept.process is not None
    try:
        if whole_group:
            os.killpg(kept.process.pid, number)
        else:
            kept.process.send_signal(number)
    except ProcessLookupError:
        pass


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
