"""Finished runs of a long benchmark in a file, one JSON object a line, so that it can be resumed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_runs(path: Path) -> list[dict[str, Any]]:
    """The finished runs, oldest first; none where there is no file. A line that was cut off is left out."""
    runs = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            runs.append(json.loads(line))
        except ValueError:  # it was being written when the benchmark ended
            continue
    return runs


def append_run(path: Path, run: Mapping[str, Any]) -> None:
    """Add one finished run; the folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        is_cut_off = file.tell() > 0 and file.seek(-1, 2) >= 0 and file.read(1) != b"\n"
        file.write(b"\n" * is_cut_off + json.dumps(run).encode() + b"\n")
