"""Shells complete commands, subcommands and options; Typer writes the scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("line", "expected"),
    [("clorad doc", "doctor"), ("clorad ledger mig", "migrate"), ("clorad doctor --qu", "--quick")],
)
def test_a_shell_completes_what_is_typed(line: str, expected: str) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    environment = {**os.environ, **words, "_CLORAD_COMPLETE": "complete_bash", "PYTHONPATH": str(ROOT)}
    program = "import sys; sys.argv[0] = 'clorad'; from daemon.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert expected in done.stdout.split(), done.stderr
