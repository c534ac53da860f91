"""Writes MODULES.md and the fault table from the first sentences of modules and tests.

Run `python -m deploy.modules` after you add, move or delete a module or a fault's test, or change the first
sentence of one.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "MODULES.md"
FAULTS = ROOT / "tests" / "faults"
FAULTS_FILE = FAULTS / "README.md"
FOLDERS = {
    "ledger": "what survives a crash",
    "feedback": "what people told us",
    "rewards": "what it is worth",
    "engine": "teaching many agents at once on one warm model",
    "serving": "putting adapters in front of users",
    "daemon": "joining them",
    "deploy": "running it",
    "examples": "seeing it",
    "bench": "measuring it",
}
INTRODUCTION = """# Modules

`python -m deploy.modules` writes this list from the first sentence of each module. A test fails where the
list and the modules differ. [ARCHITECTURE.md](ARCHITECTURE.md) says how the parts work together.
"""
FAULTS_INTRODUCTION = """# The fault table

What may go wrong around clorad, and what must hold then. Each row is a test file in this folder, against
real brokers and databases. `make test` runs the most telling tests of each row; `make faults` runs all of
them (the last row takes twenty minutes, `SOAK_S` changes that). `python -m deploy.modules` writes this page
from the tests.

| row | what must hold | test |
|---|---|---|
"""
_ROW = re.compile(r"Row (\d+)\. ")


def module_list() -> str:
    """The text of MODULES.md."""
    return INTRODUCTION + "".join(_folder(name, purpose) for name, purpose in FOLDERS.items())


def fault_table() -> str:
    """The text of tests/faults/README.md."""
    rows = ""
    for path in sorted(FAULTS.glob("test_row_*.py")):
        row = _ROW.match(purpose := purpose_of(path))
        assert row is not None, f"the docstring of {path.name} begins with Row and a number"
        rows += f"| {row[1]} | {purpose[row.end() :]} | [{path.name}]({path.name}) |\n"
    return FAULTS_INTRODUCTION + rows


def purpose_of(path: Path) -> str:
    """The first paragraph of the module's docstring, on one line and without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).removesuffix(".")


def _folder(name: str, purpose: str) -> str:
    lines = "".join(
        f"- `{path.relative_to(ROOT / name)}`: {purpose_of(path)}\n" for path in sorted(_modules(ROOT / name))
    )
    return f"\n## {name}/: {purpose}\n\n{lines}"


def _modules(folder: Path) -> Iterator[Path]:
    """The folder's modules. Migrations are left out: their file names say what they do."""
    for path in folder.rglob("*.py"):
        if path.name != "__init__.py" and "migrations" not in path.relative_to(ROOT).parts[:-2]:
            yield path


if __name__ == "__main__":
    FILE.write_text(module_list())
    FAULTS_FILE.write_text(fault_table())
