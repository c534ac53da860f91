"""Finds a server's process by the id in its pid file, unless the system gave that id to another process."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil


def read_pid(file: Path) -> int | None:
    """The process id in the file; None if it has none."""
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def running(file: Path, own: "subprocess.Popen[bytes] | None", *, marks: Sequence[str]) -> int | None:
    """The id of the process in the pid file, if it runs; else None.

    `own` is the process if the caller started it. Any other counts only if its command line has all `marks`.
    """
    pid = read_pid(file)
    if pid is None:
        return None
    if own is not None and own.pid == pid:
        # Not by its command line: between fork and exec the process still has that of its parent.
        return pid if own.poll() is None else None
    command = command_line(pid)
    return pid if command and all(mark in command for mark in marks) else None


def command_line(pid: int) -> str:
    """The command line of a process; empty if there is no such process, or only its zombie."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def group_commands(group: int) -> list[str]:
    """The command lines of the processes of a process group, without zombies."""
    return [command for pid in psutil.pids() if _group_of(pid) == group and (command := command_line(pid))]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
