"""Writes MODULES.md from the first sentences of the modules.

Run `python -m deploy.modules` after you add, move or delete a module, or change its first sentence.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "MODULES.md"
FOLDERS = {
    "ledger": "the database that all roles share",
    "feedback": "feedback on Kafka: reading, checking, redacting, sending",
    "rewards": "from events to episodes with rewards",
    "engine": "training many adapters at once on one base model",
    "serving": "the gateway and the fleet of replicas",
    "daemon": "command line, settings, roles, the learner's loop",
    "deploy": "running clorad",
    "examples": "the demo",
    "bench": "measurements",
}
INTRODUCTION = """# Modules

`python -m deploy.modules` writes this list from the first sentence of each module. A test fails if the
list and the modules differ. [ARCHITECTURE.md](ARCHITECTURE.md) says how the parts work together.
"""


def module_list() -> str:
    """The text of MODULES.md."""
    return INTRODUCTION + "".join(_folder(name, purpose) for name, purpose in FOLDERS.items())


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
