"""The README tells what was measured, MODULES.md where things are; both must stay true."""

from pathlib import Path

from bench.figures import BEGIN, END, table
from deploy.modules import module_list

ROOT = Path(__file__).resolve().parents[2]


def test_the_module_list_says_what_each_module_says_of_itself() -> None:
    assert (ROOT / "MODULES.md").read_text() == module_list(), "run python -m deploy.modules"


def test_the_readme_quotes_the_last_full_runs() -> None:
    assert BEGIN + table() + END in (ROOT / "README.md").read_text()
