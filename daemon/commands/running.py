"""`clorad run` and the role commands: start the processes."""

import sys
import threading
from pathlib import Path

from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode
from daemon.process import telemetry
from daemon.process.role_names import ROLES
from daemon.process.role_process import Role, run_role, watch_signals
from daemon.process.supervisor import STOP_S_MAX, ChildProcess, Supervisor
from daemon.settings import Settings

GATEWAY_LAST_S = 15.0
"""Seconds beyond the last answer that a gateway may take to stop: its captures must reach Kafka (10 s)."""


def run_all(settings: Settings, config: Path | None, *, without: tuple[str, ...]) -> int:
    """Supervise the roles on this machine until a signal stops them. Returns the exit code."""
    import os

    unknown = [name for name in without if name not in ROLES]
    if unknown:
        raise CommandFailed(
            f"--without {unknown[0]}: no such role; roles are {', '.join(ROLES)}", code=ExitCode.USAGE
        )
    telemetry.start_logging(settings.telemetry, role="run")
    stopping = threading.Event()
    watch_signals(stopping)
    config_option = [] if config is None else ["--config", str(config)]
    children = [
        ChildProcess(
            name=name,
            command=(
                sys.executable,
                "-m",
                "daemon",
                *config_option,
                name,
                "--supervisor-pid",
                str(os.getpid()),
            ),
            stop_s_max=gateway_stop_s_max(settings) if name == "gateway" else STOP_S_MAX,
            is_needed=name != "dashboard",
        )
        for name in ROLES
        if name not in without and (name != "dashboard" or settings.dashboard.enabled)
    ]
    return Supervisor(children).run(stopping)


def gateway_stop_s_max(settings: Settings) -> float:
    """Seconds that a gateway may take to stop: users wait for its answers, each up to `request_s_max`."""
    return settings.gateway.leave_s + settings.fleet.request_s_max + GATEWAY_LAST_S


def run_one(name: str, settings: Settings, role: Role | None = None) -> int:
    """Run one role in this process: `role`, or that of this name. Returns the exit code."""
    return run_role(name, role or _role(name), settings)


def _role(name: str) -> Role:
    """The role's main function. Imports the module of this role only: intake must never load torch."""
    match name:
        case "intake":
            from daemon.roles.intake import run
        case "learner":
            from daemon.roles.learner import run
        case "fleet":
            from daemon.roles.fleet import run
        case "bridge":
            from daemon.roles.bridge import run
        case _:
            assert name == "gateway", name
            from daemon.roles.gateway import run
    return run
