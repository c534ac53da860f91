"""Which commit was measured."""

import subprocess
from pathlib import Path


def commit() -> str:
    """The commit's name, `+` where the tree had changes."""
    named = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return named.stdout.strip()
