"""The fault table names every test of `tests/faults`, and only alerts that exist."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "deploy" / "FAULTS.md").read_text()
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \| \[(.+)\]\((.+)\) \|$", re.MULTILINE)


def test_every_row_has_its_test_and_every_test_its_row() -> None:
    rows = {int(row[1]): row for row in ROW.finditer(PAGE)}
    assert list(rows) == list(range(1, len(rows) + 1))
    files = {path.name for path in (ROOT / "tests" / "faults").glob("test_row_*.py")}
    assert {row[5] for row in rows.values()} == files
    for number, row in rows.items():
        assert row[5].startswith(f"test_row_{number:02}_")
        assert row[6] == f"../tests/faults/{row[5]}"


def test_every_test_says_of_which_row_it_is() -> None:
    for path in (ROOT / "tests" / "faults").glob("test_row_*.py"):
        number = int(path.name[len("test_row_") :][:2])
        assert path.read_text().startswith(f'"""Row {number}. ')


def test_the_alerts_that_it_names_exist() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "clorad.rules.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    named = set(re.findall(r"\bClorad[A-Z]\w+", PAGE))
    assert named <= alerts
    assert len(named) >= 8
