"""The demo's processes: how they are ended."""

import subprocess
import sys
import time
from pathlib import Path

from examples.house_rules.demo_process import DemoProcess, kill_group

SHOP = Path(__file__).resolve().parents[4] / "examples" / "house_rules" / "worlds" / "shop.toml"


def test_a_process_that_ignores_sigterm_is_killed_with_its_group(tmp_path: Path) -> None:
    deaf = "from signal import *; signal(SIGTERM, SIG_IGN); print('up', flush=True); pause(); pause()"
    process = DemoProcess("deaf", [sys.executable, "-c", deaf], tmp_path / "deaf.log")
    process.start()
    until = time.monotonic() + 20
    while process.last_line() != "up" and time.monotonic() < until:
        time.sleep(0.05)
    process.stop(stop_s_max=0.5)
    assert process.ended() == -9


def test_a_process_of_a_killed_demo_is_ended_only_if_its_command_line_shows_that_it_is_one(
    tmp_path: Path,
) -> None:
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    pid_file = tmp_path / "old.pid"
    pid_file.write_text(str(sleeper.pid))
    try:
        kill_group(pid_file, belongs_to=str(tmp_path))
        assert sleeper.poll() is None
        kill_group(pid_file, belongs_to="sleep 60")
        assert sleeper.wait(10) == -9
    finally:
        sleeper.kill()
        sleeper.wait(10)
