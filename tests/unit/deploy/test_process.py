"""A process is found again by its number, ours at once, and nobody else's in its place."""

import os
import subprocess
import sys

from deploy.process import listed, noted, running

MARK = "a-folder-of-this-test"


def test_one_of_ours_is_found_before_it_has_become_what_it_will_be(tmp_path):
    file = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as own:
        file.write_text(str(own.pid))
        assert running(file, own, marks=["not in its command line yet"]) == own.pid
        own.communicate(b"\n", timeout=20)
    assert running(file, own, marks=["python"]) is None, "ended"


def test_another_processs_is_known_by_its_command_line(tmp_path):
    file = tmp_path / "pid"
    script = ["-c", "import sys; print('up', flush=True); input()", MARK, "x" * 4000]
    with subprocess.Popen([sys.executable, *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        file.write_text(str(other.pid))
        assert other.stdout.readline() == b"up\n"
        assert running(file, None, marks=[MARK, "x" * 4000]) == other.pid
        assert running(file, None, marks=[MARK, "another port"]) is None
        other.communicate(b"\n", timeout=20)
    assert running(file, None, marks=[MARK]) is None


def test_a_number_given_to_somebody_else_is_not_it(tmp_path):
    file = tmp_path / "pid"
    assert noted(file) is None
    file.write_text("no number")
    assert running(file, None, marks=[]) is None
    file.write_text(str(os.getpid()))
    assert running(file, None, marks=[MARK]) is None
    assert listed("-p", str(os.getpid()), "-o", "pid=")[0].strip() == str(os.getpid())
