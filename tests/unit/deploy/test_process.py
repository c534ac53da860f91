"""A process is found by the id in its pid file, and no other process is taken for it."""

import os
import subprocess
import sys
from pathlib import Path

from deploy.process import command_line, group_commands, read_pid, running

MARK = "a-folder-of-this-test"


def test_our_own_process_is_found_even_before_it_has_its_command_line(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as own:
        file.write_text(str(own.pid))
        assert running(file, own, marks=["not in its command line yet"]) == own.pid
        own.communicate(b"\n", timeout=20)
    assert running(file, own, marks=["python"]) is None, "ended"


def test_the_process_of_another_is_found_by_its_command_line(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = ["-c", "import sys; print('up', flush=True); input()", MARK, "x" * 4000]
    with subprocess.Popen([sys.executable, *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        file.write_text(str(other.pid))
        assert other.stdout is not None
        assert other.stdout.readline() == b"up\n"
        assert running(file, None, marks=[MARK, "x" * 4000]) == other.pid
        assert running(file, None, marks=[MARK, "another port"]) is None
        other.communicate(b"\n", timeout=20)
    assert running(file, None, marks=[MARK]) is None


def test_a_process_that_got_the_id_later_is_not_taken_for_the_server(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    assert read_pid(file) is None
    file.write_text("no number")
    assert running(file, None, marks=[]) is None
    file.write_text(str(os.getpid()))
    assert running(file, None, marks=[MARK]) is None


def test_a_group_has_its_processes_and_not_their_zombies() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as sleeper:
        assert group_commands(sleeper.pid) == ["sleep 60"]
        sleeper.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
        assert group_commands(sleeper.pid) == []
        assert command_line(sleeper.pid) == ""
