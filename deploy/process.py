"""A server's process, found again by the number it left in a file. A number the system re-used is not it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

_ANSWER_S_MAX = 10.0


def noted(file: Path) -> int | None:
    """The number in `file`; None where there is none."""
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def running(file: Path, own: "subprocess.Popen[bytes] | None", *, marks: Sequence[str]) -> int | None:
    """The noted process, if it runs. `own` is the one we started, if we did; any other is known by the
    `marks` that its command line has."""
    number = noted(file)
    if number is None:
        return None
    if own is not None and own.pid == number:
        # Not asked of `ps`: until it has become the server it still has our own command line.
        return number if own.poll() is None else None
    lines = listed("-p", str(number), "-o", "args=")
    return number if any(all(mark in line for mark in marks) for line in lines) else None


def listed(*selection: str) -> list[str]:
    """What `ps` says, a line a process."""
    done = subprocess.run(
        ["ps", "-ww", *selection], capture_output=True, text=True, check=False, timeout=_ANSWER_S_MAX
    )
    return done.stdout.splitlines()
