"""What the documents name exists: paths, modules, commands, options, settings. Their lists are current."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bench.figures import BEGIN, END, table
from daemon.cli.app import app
from daemon.settings import Settings
from deploy.modules import module_list

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "ledger",
    "feedback",
    "rewards",
    "engine",
    "serving",
    "daemon",
    "deploy",
    "examples",
    "bench",
    "tests",
)
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")))
    if path.name != "MODULES.md"
)
_CODE_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./@-]*")
_MODULE = re.compile(r"python -m ((?:\w+\.)+\w+)")
_SETTING = re.compile(r"([a-z]+)\.([a-z_]+)")


def snippets(document: Path) -> list[str]:
    """Everything written as code: inline, and the lines of code blocks."""
    text = document.read_text()
    lines = [line for block in _CODE_BLOCK.findall(text) for line in block.splitlines()]
    return [*lines, *_INLINE.findall(_CODE_BLOCK.sub("", text))]


def commands(document: Path) -> Iterator[list[str]]:
    """The words of every clorad command line."""
    joined = "\n".join(snippets(document)).replace("\\\n", " ")
    for line in joined.splitlines():
        start = re.match(r"\s*(?:\$ |\.venv/bin/)?clorad (.*)", line)
        if start is not None:
            yield shlex.split(start[1].replace("…", ""), comments=True)


@pytest.fixture(params=DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_path_that_a_document_names_exists(document: Path) -> None:
    named = {match for snippet in snippets(document) for match in _PATH.findall(snippet)}
    missing = [path for path in named if not (ROOT / path).exists()]
    links = [link for link in _LINK.findall(document.read_text()) if "://" not in link]
    missing += [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_every_heading_that_a_document_links_to_exists(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", document.read_text()):
        if "://" not in target:
            text = (document.parent / target).read_text() if target else document.read_text()
            headings = re.findall(r"^#+ (.+)$", _CODE_BLOCK.sub("", text), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{target}#{anchor}"


def test_every_module_that_a_document_runs_exists(document: Path) -> None:
    modules = {match for snippet in snippets(document) for match in _MODULE.findall(snippet)}
    ours = {module for module in modules if module.partition(".")[0] in FOLDERS}
    assert [module for module in ours if not (ROOT / f"{module.replace('.', '/')}.py").exists()] == []


def test_every_command_and_option_that_a_document_names_exists(document: Path) -> None:
    for words in commands(document):
        command: Any = typer.main.get_command(app)
        for word in words:
            subcommands = getattr(command, "commands", {})
            if word in subcommands:
                command = subcommands[word]
            elif word.startswith("--"):
                options = {name for parameter in command.params for name in parameter.opts}
                assert word.partition("=")[0] in options | {"--help", "--config"}, words
            else:
                is_command = word.isalpha() and word.islower()
                assert command.name != "clorad" or not is_command, words


def test_every_setting_that_a_document_names_exists(document: Path) -> None:
    for snippet in snippets(document):
        match = _SETTING.fullmatch(snippet)
        if match is None or match[1] not in Settings.model_fields or match[1] == "agents":
            continue
        group = Settings.model_fields[match[1]].annotation
        assert match[2] in getattr(group, "model_fields", {}), snippet


def test_the_glossary_is_in_alphabetical_order() -> None:
    glossary = (ROOT / "ARCHITECTURE.md").read_text().partition("## Glossary")[2].partition("\n## ")[0]
    words = re.findall(r"^\| (?!word|---)([^|]+?) \|", glossary, re.MULTILINE)
    assert len(words) >= 30
    assert words == sorted(words, key=str.lower)


def test_the_module_list_is_current() -> None:
    assert (ROOT / "MODULES.md").read_text() == module_list(), "run python -m deploy.modules"


def test_the_readme_quotes_the_last_full_runs() -> None:
    assert BEGIN + table() + END in (ROOT / "README.md").read_text()
