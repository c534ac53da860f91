"""The README tells what was measured, ARCHITECTURE.md where things are; both must stay true."""

import ast
from pathlib import Path

from bench.figures import BEGIN, END, table

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ledger", "feedback", "rewards", "engine", "serving", "daemon", "deploy", "examples", "bench")


def test_the_architecture_says_what_each_module_says_of_itself() -> None:
    lines = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    told, folder = {}, ""
    for line in lines:
        if line.split("/")[0] in FOLDERS and not line.startswith(" "):
            folder = line.split("/")[0]
        elif folder and line.startswith("  ") and line.split():
            name, _, words = line.strip().partition(" ")
            told[f"{folder}/{name}"] = words.strip()
    assert told == {
        str(path.relative_to(ROOT)): purpose(path)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py" and "versions" not in path.parts
    }


def purpose(path: Path) -> str:
    """The first paragraph of its docstring, in one line."""
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(said.partition("\n\n")[0].split()).removesuffix(".")


def test_the_readme_quotes_the_last_full_runs() -> None:
    assert BEGIN + table() + END in (ROOT / "README.md").read_text()
