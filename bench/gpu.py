"""Runs on a GPU, one after the other, what was only ever run on CPUs: `python -m bench.gpu`.

Self-test, the engine's tests, the engine against PEFT, experiments at once. Each part has its own process and
limit of time, ten minutes in all; one that fails or runs out of time does not end the others. Prints one JSON
object for each part, with the last line that the part printed.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedCommand:
    """One command: the words after `python -m`, and the seconds it may take."""

    words: Sequence[str]
    s_max: float


def parts(device: str, shape: str) -> list[BoundedCommand]:
    """What is run, the cheapest first."""
    dtype = "bfloat16" if device == "cuda" else "float32"
    return [
        BoundedCommand(
            words=("daemon", "engine", "selftest", "--device", device, "--dtype", dtype), s_max=60.0
        ),
        BoundedCommand(words=("pytest", "-q", "-x", "tests/unit/engine"), s_max=150.0),
        BoundedCommand(words=("bench.engine", "--device", device, "--shape", shape, "--json"), s_max=210.0),
        BoundedCommand(
            words=("bench.experiments", "--device", device, "--shape", shape, "--minutes-max", "2", "--json"),
            s_max=180.0,
        ),
    ]


def run_part(part: BoundedCommand) -> dict[str, Any]:
    """Run it to its end or its limit. `exit` is null where it ran out of time."""
    began_s = time.monotonic()
    try:
        completed = subprocess.run(
            [sys.executable, "-m", *part.words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=part.s_max,
        )
        code, printed, errors = completed.returncode, completed.stdout, completed.stderr
    except subprocess.TimeoutExpired as expired:
        code, printed, errors = None, _text(expired.stdout), _text(expired.stderr)
    return {
        "part": " ".join(part.words),
        "exit": code,
        "seconds": round(time.monotonic() - began_s, 1),
        "last_line": _last_line(printed) or _last_line(errors),
        "last_error": "" if code == 0 else _last_line(errors)[-500:],
    }


def _text(octets: bytes | str | None) -> str:
    return octets.decode(errors="replace") if isinstance(octets, bytes) else octets or ""


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def main() -> None:
    """Exits with 1 where a part failed or ran out of time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--shape", default="qwen3-4b")
    asked = parser.parse_args()
    results = []
    for part in parts(asked.device, asked.shape):
        results.append(run_part(part))
        print(json.dumps(results[-1]), flush=True)
    sys.exit(int(any(result["exit"] != 0 for result in results)))


if __name__ == "__main__":
    main()
