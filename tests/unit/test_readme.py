"""The README tells where things are; it must stay true."""

from pathlib import Path

from bench.figures import BEGIN, END, table

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ledger", "feedback", "rewards", "engine", "serving", "daemon", "deploy", "examples", "bench")


def test_the_tree_in_the_readme_names_every_module() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    named, folder = set(), ""
    for line in lines:
        if line.split("/")[0] in FOLDERS and not line.startswith(" "):
            folder = line.split("/")[0]
        elif folder and line.startswith("  ") and line.split():
            named.add(f"{folder}/{line.split()[0]}")
    there = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py" and "versions" not in path.parts
    }
    assert named == there


def test_the_readme_quotes_the_last_full_runs() -> None:
    assert BEGIN + table() + END in (ROOT / "README.md").read_text()
