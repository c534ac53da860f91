"""How this repository is kept: names that mean one thing, modules and folders of a size that can be read."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("ledger", "feedback", "rewards", "engine", "serving", "daemon")
CODE = (*STAGES, "examples", "bench", "deploy")
LINES_MAX = 300
MODULES_MAX = 14  # of one folder of the ledger, of serving and of the daemon


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_no_public_class_name_stands_for_two_things() -> None:
    places = defaultdict(list)
    for path in python_files(*CODE):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_no_module_is_longer_than_people_read() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in python_files(*CODE)
        if "migrations" not in path.parts
    }
    assert {path: lines for path, lines in lengths.items() if lines > LINES_MAX} == {}


@pytest.mark.parametrize("stage", ["ledger", "serving", "daemon"])
def test_no_folder_holds_more_modules_than_people_overlook(stage: str) -> None:
    sizes = defaultdict(int)
    for path in python_files(stage):
        if path.name != "__init__.py":
            sizes[str(path.parent.relative_to(ROOT))] += 1
    assert {folder: size for folder, size in sizes.items() if size > MODULES_MAX} == {}
