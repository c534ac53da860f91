"""Reads the table of metrics in deploy/METRICS.md, for the tests that compare it with the code."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


@dataclass(frozen=True)
class Row:
    kind: str
    labels: dict[str, set[str]]  # label -> the values that the row names
    text: str


def catalogue() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for line in (DEPLOY / "METRICS.md").read_text().splitlines():
        if line.startswith("| `clorad_"):
            name, kind, labels, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            assert name.strip("`") not in rows, f"{name} has two rows"
            rows[name.strip("`")] = Row(kind, _labels(labels), line)
    return rows


def _labels(cell: str) -> dict[str, set[str]]:
    """The cell ``a`: `x`, `y`; `b`` names the labels a and b, and two values of a."""
    labels: dict[str, set[str]] = {}
    for part in cell.split(";"):
        for name, values in re.findall(r"`(\w+)`(?: of [^:]*)?:(.*)", part) or re.findall(
            r"^\s*`(\w+)`(.*)", part
        ):
            if ":" not in part and "," in values:  # `topic`, `partition`
                labels |= {label: set() for label in re.findall(r"`(\w+)`", part)}
            else:
                labels.setdefault(name, set()).update(re.findall(r"`([^`]+)`", values))
    return labels
