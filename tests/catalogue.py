"""deploy/METRICS.md as tests read it."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


@dataclass(frozen=True)
class Row:
    kind: str
    labels: dict[str, set[str]]  # the values that are named
    text: str


def catalogue() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for line in (DEPLOY / "METRICS.md").read_text().splitlines():
        if line.startswith("| `clorad_"):
            name, kind, labels, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            assert name.strip("`") not in rows, f"{name} is there twice"
            rows[name.strip("`")] = Row(kind, _labels(labels), line)
    return rows


def _labels(cell: str) -> dict[str, set[str]]:
    """``a`: `x`, `y`; `b`` names the labels a and b, and two values of a."""
    found: dict[str, set[str]] = {}
    for part in cell.split(";"):
        for name, said in re.findall(r"`(\w+)`(?: of [^:]*)?:(.*)", part) or re.findall(
            r"^\s*`(\w+)`(.*)", part
        ):
            if ":" not in part and "," in said:  # `topic`, `partition`
                found |= {one: set() for one in re.findall(r"`(\w+)`", part)}
            else:
                found.setdefault(name, set()).update(re.findall(r"`([^`]+)`", said))
    return found
