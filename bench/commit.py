"""The commit that a benchmark measures."""

import subprocess
from pathlib import Path


def commit() -> str:
    """The commit's name, with `+` where the work tree has changes."""
    description = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return description.stdout.strip()
