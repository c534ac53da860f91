"""Checks the engine on this machine: `clorad engine selftest` in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.settings import Settings

SELFTEST_S_MAX = 600.0


def engine_checks(
    settings: Settings, config: Path | None, variables: Mapping[str, str] = MappingProxyType({})
) -> CheckGroup:
    """The check of the engine. The learner's memory and this command's stay apart: it is another process.

    `variables` are added to its environment.
    """
    return CheckGroup(
        name="engine",
        checks=(
            HealthCheck(
                name="self-test",
                run=lambda: _keeps_promises(settings, config, variables),
                s_max=SELFTEST_S_MAX + 30.0,
            ),
        ),
    )


def _keeps_promises(
    settings: Settings, config: Path | None, variables: Mapping[str, str]
) -> Iterator[FoundFault]:
    if find_spec("torch") is None:
        raise Undone("torch is not installed here (clorad[engine])")
    if not settings.engine.base.is_dir():
        raise Undone("engine.base cannot be read here")
    options = [] if config is None else ["--config", str(config)]
    command = [sys.executable, "-m", "daemon", *options, "engine", "selftest", "--json"]
    try:
        environment = {**os.environ, **variables}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=SELFTEST_S_MAX
        )
    except subprocess.TimeoutExpired:
        raise Undone(f"it took more than {SELFTEST_S_MAX:.0f} s: run `clorad engine selftest`") from None
    if done.returncode == 0:
        return
    lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
    yield Fault.ENGINE_BROKEN.at(str(settings.engine.base), _broken_promises(done.stdout) or lines[-1][:300])


def _broken_promises(output: str) -> str:
    """The promises that the self-test found broken; empty if it made none of its checks."""
    try:
        checks = json.loads(output)["checks"]
        return ", ".join(check["promise"] for check in checks if not check["kept"])
    except (ValueError, LookupError, TypeError):
        return ""
