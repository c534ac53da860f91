"""How this repository is kept: names that mean one thing, modules and folders of a size that can be read."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("ledger", "feedback", "rewards", "engine", "serving", "daemon")
CODE = (*STAGES, "examples", "bench", "deploy")
LINES_MAX = 300
MODULES_MAX = 14  # of one folder of the ledger, of serving and of the daemon
NO_NOUNS = re.compile(
    "_*(either|foo|found|gone|here|made|many|most|one|seen|some|stuff|there|things?|tmp|told|ways)"
)
"""Words that say nothing of our domain: `event`, `row` and `replica` do, and plurals of such nouns."""


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
        if path.name != "__init__.py" and "migrations" not in path.parts:  # these are read one at a time
            sizes[str(path.parent.relative_to(ROOT))] += 1
    assert {folder: size for folder, size in sizes.items() if size > MODULES_MAX} == {}


def test_variables_are_nouns_of_the_domain() -> None:
    places = {
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in python_files(*CODE)
        if "migrations" not in path.parts
        for name, line in _names_given(ast.parse(path.read_text()))
        if NO_NOUNS.fullmatch(name)
    }
    assert places == set()


def test_each_migration_has_a_number_of_its_own_and_follows_the_one_before() -> None:
    files = sorted((ROOT / "ledger" / "migrations" / "versions").glob("[0-9]*.py"))
    numbers = [f"{place:04d}" for place in range(1, len(files) + 1)]
    assert [path.name.partition("_")[0] for path in files] == numbers
    for number, path in zip(numbers, files, strict=True):
        before = None if number == "0001" else f"{int(number) - 1:04d}"
        assert _constants(path) >= {("revision", number), ("down_revision", before)}, path.name


def _names_given(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names of variables, loops, parameters and fields, with their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                yield name, node.lineno


def _constants(path: Path) -> set[tuple[str, object]]:
    """Names and values of the constants of a module."""
    return {
        (target.id, node.value.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
