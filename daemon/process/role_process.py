"""Runs one role in its process: signals, logging, metrics, the health port, and the exit code.

Exit code 0: it was asked to stop. 78: starting it again cannot help, a person has to change something.
Any other code is a fault, and the supervisor (or systemd, or Kubernetes) starts it again.
"""

import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

import structlog

from daemon.exit_codes import ExitCode
from daemon.process import health, telemetry
from daemon.process.health import Health
from daemon.process.role_names import health_port
from daemon.setting_checks import is_loopback
from daemon.settings import Settings, TelemetrySettings
from ledger.errors import LedgerRefused

log = structlog.get_logger(__name__)

Role = Callable[[Settings, threading.Event, Health], None]
"""Runs until the event is set; raises `RoleRefused` or `LedgerRefused` if starting it again cannot help."""

_PR_SET_PDEATHSIG = 1


class RoleRefused(Exception):
    """The role cannot run, and starting it again cannot help. The text is one line for a person."""


def run_role(name: str, role: Role, settings: Settings) -> int:
    """Run one role until SIGTERM or SIGINT. Returns the exit code; faults are raised and logged."""
    telemetry.start_logging(settings.telemetry, role=name)
    meters = telemetry.start_meters(settings.telemetry, role=name)
    traces = telemetry.start_traces(settings.telemetry, role=name)
    stopping = threading.Event()
    watch_signals(stopping)
    role_health = Health()
    with ExitStack() as open_parts:
        open_parts.callback(meters.shutdown)
        if traces is not None:
            open_parts.callback(traces.shutdown)
        try:
            if port := health_port(settings.telemetry.health_port, name):
                _serve_health(role_health, settings.telemetry, port, open_parts)
            log.info("role started")
            _exempt_from_collection()
            role(settings, stopping, role_health)
        except (RoleRefused, LedgerRefused) as refusal:
            log.critical("role refused to go on", why=str(refusal))
            return ExitCode.CHANGE_NEEDED
        log.info("role stopped")
    return ExitCode.DONE


def watch_signals(stopping: threading.Event) -> None:
    """Set `stopping` on SIGTERM and SIGINT. A second signal ends the process at once, which is always
    safe."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(ExitCode.FAILED)
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends in any way (on Linux; elsewhere do nothing).

    The signal is SIGKILL: no role may outlive the supervisor, and none needs a graceful end.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # the parent had ended before
        os._exit(ExitCode.FAILED)


def _exempt_from_collection() -> None:
    """What is imported by now stays for as long as the process: the collector looks at it no more.

    A full collection would look at all of it each time, and stop every thread meanwhile: for 80 to 120 ms
    in a gateway (measured), in which nobody is answered.
    """
    gc.collect()
    gc.freeze()


def _serve_health(role_health: Health, options: TelemetrySettings, port: int, open_parts: ExitStack) -> None:
    host, token = options.health_host, options.token
    if token is None and not is_loopback(host):
        log.warning("health and metrics are open to whoever reaches this machine", setting="telemetry.token")
    try:
        open_parts.enter_context(
            health.served(role_health, port, host, token=None if token is None else token.get_secret_value())
        )
    except OSError as fault:
        raise RoleRefused(
            f"telemetry.health_port: {host}:{port} cannot be listened on ({fault.strerror})"
        ) from None
