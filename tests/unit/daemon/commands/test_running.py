"""`clorad run` as a person starts it: one line when it cannot go on, and nothing left when it is gone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.daemon.conftest import Clorad

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
WAIT_S = 40.0
ONLY_INTAKE = [word for role in ("learner", "fleet", "gateway", "dashboard") for word in ("--without", role)]
AWAY = '[kafka]\nbootstrap_servers = "127.0.0.1:1"\n'

Run = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts `clorad run` with these settings and intake alone; its lines go to `log`."""
    started: list[subprocess.Popen[bytes]] = []

    def start(toml: str) -> "subprocess.Popen[bytes]":
        (tmp_path / "settings.toml").write_text(toml)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CLORAD_")}
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "daemon", "run", "--config", "settings.toml", *ONLY_INTAKE],
                cwd=tmp_path,
                env={**clean, "PYTHONPATH": str(ROOT)},
                stderr=log,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=WAIT_S)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.endswith("}")]


def until_said(folder: Path, event: str) -> dict[str, Any]:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        for line in lines(folder):
            if line["event"] == event:
                return line
        time.sleep(0.05)
    raise AssertionError(f"never said {event!r}: {(folder / 'log').read_text()[-2000:]}")


def test_a_role_that_refuses_ends_the_run_with_its_reason(tmp_path: Path, run: Run) -> None:
    process = run(f'{AWAY}[agents.billing]\nscorer = "exact"\n[engine]\nbase = "."\n')
    assert process.wait(timeout=WAIT_S) == 78
    critical = [line for line in lines(tmp_path) if line["level"] == "critical"]
    assert [line["role"] for line in critical] == ["intake", "run"]
    assert critical[0]["why"].startswith("engine.base: ")
    assert critical[1]["refused"] == "intake"


def refused(folder: Path, role: str) -> str:
    """What a role that starts there says of itself as it ends with 78."""
    ended = subprocess.run(
        [sys.executable, "-m", "daemon", role],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ended.returncode == 78, ended.stderr
    return str(json.loads(ended.stderr.splitlines()[-1])["why"])


@pytest.mark.parametrize("role", ["intake", "gateway"])
def test_a_damaged_ledger_ends_a_role_that_starts_with_one_line_and_78(tmp_path: Path, role: str) -> None:
    (tmp_path / "clorad.toml").write_text(AWAY)
    (tmp_path / "clorad.db").write_bytes(b"this was a ledger once\n" * 1000)
    why = refused(tmp_path, role)
    assert f"{tmp_path}/clorad.db is no SQLite database" in why
    assert "clorad ledger restore" in why


def test_the_fleet_without_its_base_is_refused_also_where_no_agent_is_declared(tmp_path: Path) -> None:
    (tmp_path / "clorad.toml").write_text(f'{AWAY}[engine]\nbase = "missing"\n')
    assert refused(tmp_path, "fleet").startswith("engine.base: ")


def test_asked_to_stop_it_stops_its_roles_and_ends_with_zero(tmp_path: Path, run: Run) -> None:
    process = run(AWAY)
    until_said(tmp_path, "role started")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=WAIT_S) == 0
    assert until_said(tmp_path, "role process stopped")["how"] == "exit 0"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="parent-death signals are Linux's")
def test_killed_it_takes_its_roles_with_it(tmp_path: Path, run: Run) -> None:
    process = run(AWAY)
    role_pid = until_said(tmp_path, "role started")["pid"]
    process.kill()
    process.wait(timeout=WAIT_S)
    deadline_s = time.monotonic() + WAIT_S
    while Path(f"/proc/{role_pid}").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not Path(f"/proc/{role_pid}").exists()


def test_a_role_that_does_not_exist_cannot_be_left_out(clorad: Clorad) -> None:
    result = clorad("run", "--without", "cleaner")
    assert result.code == 2
    assert "intake, learner, fleet, gateway, dashboard" in result.err
