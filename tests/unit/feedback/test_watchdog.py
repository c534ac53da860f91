"""A process whose loop hangs is ended; a loop that comes round is left alone."""

import subprocess
import sys
from pathlib import Path

from feedback.watchdog import EXIT_HUNG

ROOT = Path(__file__).resolve().parents[3]


def run(body: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, in which `dog` watches while `body` runs."""
    code = f"""
import re, time
from feedback.watchdog import Watchdog
with Watchdog(silent_s_max=0.5) as dog:
    {body}
print("ended by itself")
"""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_silent_loop_ends_its_process_and_shows_where_it_was() -> None:
    process = run("time.sleep(30)")
    assert process.returncode == EXIT_HUNG
    assert "Timeout (0:00:00.5" in process.stderr
    assert 'File "<string>", line 5' in process.stderr
    assert "ended by itself" not in process.stdout


def test_a_call_that_holds_the_gil_is_ended_too() -> None:
    process = run("re.match('(a+)+$', 'a' * 40 + 'b')")
    assert process.returncode == EXIT_HUNG
    assert "Timeout (0:00:00.5" in process.stderr


def test_a_loop_that_comes_round_is_left_alone() -> None:
    process = run("[(dog.alive(), time.sleep(0.1)) for _ in range(15)]")
    assert (process.returncode, process.stdout) == (0, "ended by itself\n"), process.stderr


def test_nobody_is_watched_after_the_loop() -> None:
    process = run("pass\ntime.sleep(1)")
    assert (process.returncode, process.stdout) == (0, "ended by itself\n"), process.stderr
