"""`clorad run` and the roles: from the command line to processes."""

import sys
import threading
from pathlib import Path

from daemon import telemetry
from daemon.console import CommandFailed
from daemon.role_names import ROLES
from daemon.role_process import Role, run_role, watch_signals
from daemon.settings import Settings
from daemon.supervisor import Child, Supervisor


def run_all(settings: Settings, config: Path | None, *, without: tuple[str, ...]) -> int:
    """Supervise the roles on this machine until told to stop. Returns the exit code."""
    import os

    unknown = [name for name in without if name not in ROLES]
    if unknown:
        raise CommandFailed(f"--without {unknown[0]}: no such role; roles are {', '.join(ROLES)}", code=2)
    telemetry.start_logging(settings.telemetry, role="run")
    stopping = threading.Event()
    watch_signals(stopping)
    named = [] if config is None else ["--config", str(config)]
    children = [
        Child(
            name=name,
            command=(sys.executable, "-m", "daemon", *named, name, "--supervisor-pid", str(os.getpid())),
        )
        for name in ROLES
        if name not in without
    ]
    return Supervisor(children).run(stopping)


def run_one(name: str, settings: Settings) -> int:
    """Run one role in this process. Returns the exit code."""
    return run_role(name, _role(name), settings)


def _role(name: str) -> Role:
    from daemon import roles

    return {"intake": roles.intake, "learner": roles.learner, "fleet": roles.fleet, "gateway": roles.gateway}[
        name
    ]
