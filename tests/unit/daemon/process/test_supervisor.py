"""The supervisor over real processes: small scripts that die, linger, refuse or leave a child behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.exit_codes import ExitCode
from daemon.process.supervisor import STOP_ORDER, ChildProcess, RestartDelays, Supervisor

QUICK = RestartDelays(first_s=0.05, longest_s=0.2, calm_s=60.0)
SECONDS_MAX = 15.0

STEADY = """
import os, pathlib, signal, sys, time
def stop(*_):
    with open(sys.argv[1] + "/stopped", "a") as file: file.write(sys.argv[2] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with open(sys.argv[1] + "/started", "a") as file: file.write(f"{sys.argv[2]} {os.getpid()}\\n")
time.sleep(60)
"""
DIES = """
import sys
with open(sys.argv[1] + "/started", "a") as file: file.write(sys.argv[2] + " 0\\n")
sys.exit(3)
"""
REFUSES = f"import sys\nsys.exit({ExitCode.CHANGE_NEEDED})"
DEAF = STEADY.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")


def child(name: str, script: str, folder: Path, **more: float) -> ChildProcess:
    return ChildProcess(name=name, command=(sys.executable, "-S", "-c", script, str(folder), name), **more)


def lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []


def pids(folder: Path) -> dict[str, int]:
    return {name: int(pid) for name, pid in (line.split() for line in lines(folder / "started"))}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def eventually(holds: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline_s:
        if holds():
            return True
        time.sleep(0.02)
    return False


@contextmanager
def running(supervisor: Supervisor) -> Iterator[tuple[threading.Event, list[int]]]:
    stopping, codes = threading.Event(), list[int]()
    thread = threading.Thread(target=lambda: codes.append(supervisor.run(stopping)))
    thread.start()
    try:
        yield stopping, codes
    finally:
        stopping.set()
        thread.join(timeout=SECONDS_MAX)
        assert not thread.is_alive()


def test_a_child_that_dies_is_started_again_and_takes_nobody_down(tmp_path: Path) -> None:
    children = [child("learner", DIES, tmp_path), child("gateway", STEADY, tmp_path)]
    with running(Supervisor(children, delays=QUICK)) as (_, codes):
        assert eventually(
            lambda: [line.split()[0] for line in lines(tmp_path / "started")].count("learner") >= 3
        )
        started = [line.split()[0] for line in lines(tmp_path / "started")]
        assert started.count("gateway") == 1
        assert is_running(pids(tmp_path)["gateway"])
    assert codes == [0]


def test_a_failpoint_is_not_armed_again_in_the_process_started_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLORAD_FAILPOINT", "intake-polled")
    tells = (
        "import os, sys\n"
        "with open(sys.argv[1] + '/armed', 'a') as file:\n"
        "    file.write(os.environ.get('CLORAD_FAILPOINT', 'no') + '\\n')\n"
        "sys.exit(3)"
    )
    with running(Supervisor([child("intake", tells, tmp_path)], delays=QUICK)):
        assert eventually(lambda: len(lines(tmp_path / "armed")) >= 3)
    assert lines(tmp_path / "armed")[:3] == ["intake-polled", "no", "no"]


def test_a_killed_child_comes_back_as_another_process(tmp_path: Path) -> None:
    with running(Supervisor([child("intake", STEADY, tmp_path)], delays=QUICK)):
        assert eventually(lambda: "intake" in pids(tmp_path))
        first = pids(tmp_path)["intake"]
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: pids(tmp_path)["intake"] != first)


def test_children_are_stopped_in_order_the_gateway_last(tmp_path: Path) -> None:
    names = ["gateway", "fleet", "learner", "intake", "dashboard"]
    with running(Supervisor([child(name, STEADY, tmp_path) for name in names])) as (stopping, codes):
        assert eventually(lambda: set(pids(tmp_path)) == set(names))
        stopping.set()
    stopped = lines(tmp_path / "stopped")
    assert stopped[0] == "dashboard"
    assert set(stopped[1:3]) == set(STOP_ORDER[1])
    assert stopped[3:] == ["fleet", "gateway"]
    assert codes == [0]


def test_a_child_that_will_not_stop_is_killed_in_time(tmp_path: Path) -> None:
    children = [child("learner", DEAF, tmp_path, stop_s_max=0.3), child("gateway", STEADY, tmp_path)]
    with running(Supervisor(children)) as (stopping, codes):
        assert eventually(lambda: len(pids(tmp_path)) == 2)
        asked_s = time.monotonic()
        stopping.set()
    assert time.monotonic() - asked_s < 5.0
    assert lines(tmp_path / "stopped") == ["gateway"]
    assert not any(is_running(pid) for pid in pids(tmp_path).values())
    assert codes == [0]


def test_what_a_dead_child_started_is_gone_before_it_is_started_again(tmp_path: Path) -> None:
    leaves_a_child = (
        "import subprocess, sys\n"
        "left = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        "with open(sys.argv[1] + '/left', 'a') as file: file.write(f'{left.pid}\\n')\n"
        "sys.exit(1)"
    )
    with running(Supervisor([child("learner", leaves_a_child, tmp_path)], delays=QUICK)):
        assert eventually(lambda: len(lines(tmp_path / "left")) >= 2)
        assert eventually(lambda: not is_running(int(lines(tmp_path / "left")[0])))
    assert eventually(lambda: not any(is_running(int(pid)) for pid in lines(tmp_path / "left")))


def test_a_child_that_refuses_stops_everything_with_its_code(tmp_path: Path) -> None:
    children = [child("gateway", STEADY, tmp_path), child("intake", REFUSES, tmp_path)]
    with running(Supervisor(children)) as (stopping, codes):
        assert eventually(lambda: bool(codes))
        assert not stopping.is_set()
    assert codes == [ExitCode.CHANGE_NEEDED]
    assert not any(is_running(pid) for pid in pids(tmp_path).values())


@pytest.mark.parametrize("calm_s", [0.0, 60.0])
def test_a_gateway_that_people_use_outlasts_who_refused(tmp_path: Path, calm_s: float) -> None:
    refuses_later = (
        "import pathlib, sys, time\n"
        "started = pathlib.Path(sys.argv[1], 'started')\n"
        "while not started.exists() or len(started.read_text().splitlines()) < 2: time.sleep(0.02)\n"
        f"sys.exit({ExitCode.CHANGE_NEEDED})"
    )
    children = [
        child("gateway", STEADY, tmp_path),
        child("learner", STEADY, tmp_path),
        child("intake", refuses_later, tmp_path),
    ]
    with running(Supervisor(children, delays=RestartDelays(calm_s=calm_s))) as (_, codes):
        assert eventually(lambda: "learner" in lines(tmp_path / "stopped"))
        if calm_s:
            assert eventually(lambda: bool(codes))
        else:
            time.sleep(0.3)
            assert is_running(pids(tmp_path)["gateway"])
            assert not codes
    assert lines(tmp_path / "stopped") == ["learner", "gateway"]
    assert codes == [ExitCode.CHANGE_NEEDED]


def test_a_command_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    late = tmp_path / "role"
    with running(Supervisor([ChildProcess(name="fleet", command=(str(late), str(tmp_path)))], delays=QUICK)):
        time.sleep(0.2)
        body = STEADY.replace("sys.argv[2]", "'fleet'")
        late.write_text(f"#!{sys.executable} -S\n{body}")
        late.chmod(0o755)
        assert eventually(lambda: "fleet" in pids(tmp_path))


ORPHANED = """
import os, sys, time
sys.path.insert(0, {root!r})
from daemon.process.role_process import die_with
die_with(int(sys.argv[3]))
with open(sys.argv[1] + "/started", "a") as file: file.write(f"{{sys.argv[2]}} {{os.getpid()}}\\n")
time.sleep(60)
"""
SUPERVISES = """
import os, sys, threading
from daemon.process.supervisor import ChildProcess, Supervisor
script, folder = sys.argv[1:]
command = (sys.executable, "-c", script, folder, "learner", str(os.getpid()))
child = ChildProcess(name="learner", command=command)
Supervisor([child]).run(threading.Event())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="parent-death signals are Linux's")
def test_no_role_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    script = ORPHANED.format(root=str(root))
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISES, script, str(tmp_path)], cwd=root, stderr=subprocess.DEVNULL
    )
    try:
        assert eventually(lambda: "learner" in pids(tmp_path))
        orphan = pids(tmp_path)["learner"]
        assert is_running(orphan)
    finally:
        supervisor.kill()
        supervisor.wait(timeout=SECONDS_MAX)
    assert eventually(lambda: not is_running(orphan))


@given(deaths=st.integers(1, 10_000), chance=st.floats(0.0, 0.999))
def test_the_delay_never_exceeds_its_bound_and_never_vanishes(deaths: int, chance: float) -> None:
    patience = RestartDelays(first_s=0.5, longest_s=30.0)
    assert 0.25 <= patience.delay_s(deaths, chance) <= 30.0
    assert patience.delay_s(deaths + 1, chance) >= patience.delay_s(deaths, chance)


def test_a_child_that_is_not_needed_may_refuse_while_the_others_go_on(tmp_path: Path) -> None:
    children = [
        child("intake", STEADY, tmp_path),
        ChildProcess(name="dashboard", command=(sys.executable, "-S", "-c", REFUSES), is_needed=False),
    ]
    with running(Supervisor(children, delays=QUICK)) as (_, codes):
        assert eventually(lambda: "intake" in pids(tmp_path))
        time.sleep(0.5)
        assert is_running(pids(tmp_path)["intake"])
        assert codes == []
    assert codes == [ExitCode.DONE]


def test_where_it_is_alone_its_refusal_ends_the_supervisor(tmp_path: Path) -> None:
    alone = ChildProcess(name="dashboard", command=(sys.executable, "-S", "-c", REFUSES), is_needed=False)
    with running(Supervisor([alone], delays=QUICK)) as (_, codes):
        assert eventually(lambda: codes == [ExitCode.CHANGE_NEEDED])
