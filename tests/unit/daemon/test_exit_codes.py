"""Exit codes are named in one place, and the runbook says what each means."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from daemon.exit_codes import ExitCode

ROOT = Path(__file__).parents[3]
ENDS_WITH = {"exit", "_exit", "Exit", "SystemExit", "CommandFailed"}


def raw_codes(tree: ast.AST) -> Iterator[int]:
    """Lines on which a number ends a process, or a command that was refused."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            given = (*node.args, *(keyword.value for keyword in node.keywords))
            if name in ENDS_WITH and any(
                isinstance(value, ast.Constant) and isinstance(value.value, int) for value in given
            ):
                yield node.lineno


def test_no_other_module_of_the_daemon_names_a_number() -> None:
    numbers = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "daemon").rglob("*.py"))
        if (lines := list(raw_codes(ast.parse(path.read_text()))))
    }
    assert numbers == {}


def test_the_runbook_lists_every_code() -> None:
    runbook = (ROOT / "deploy" / "RUNBOOK.md").read_text()
    section = runbook.partition("### Exit codes")[2].partition("\n## ")[0]
    table = re.findall(r"^\| (\d+) \|", section, re.MULTILINE)
    assert [int(code) for code in table] == sorted(ExitCode)
