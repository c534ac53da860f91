"""Reading a repository: nothing in it runs a program, hides a commit, or passes for an option of git."""

from pathlib import Path

import pytest

from feedback.bridges.git import repository
from feedback.bridges.git.repository import GitFailed, Repository
from tests.unit.feedback.bridges.git.git_builder import AGENT, ANN, BuiltRepository

CODE = "a = 1\nb = 2\n"


@pytest.fixture
def built(tmp_path: Path) -> BuiltRepository:
    return BuiltRepository(tmp_path / "repository")


def read_all(built: BuiltRepository, start: str, end: str) -> None:
    """Everything that a scan asks of a repository."""
    read = Repository(built.path)
    assert read.commit_id("main") == end
    assert read.first_commit(end)
    read.agent_commits([], since_s=0)
    assert [commit.id for commit in read.mainline(end)][:2] == [end, start]
    read.mainline_steps(start, end, ["store.py"])
    read.descendants(start, end)
    read.tips_with(start)
    [change] = read.changes(end)
    assert read.texts([change.blob]) == {change.blob: CODE.replace("2", "3")}
    [diff] = read.diffs(start, [end], ["store.py"])
    assert (diff.removed, diff.added) == ({"b=2"}, {"b=3"})


def test_nothing_in_a_repository_runs(built: BuiltRepository) -> None:
    start = built.commit(
        {"store.py": CODE, ".gitattributes": "*.py diff=evil filter=evil\n"}, by=AGENT, day=1
    )
    end = built.commit({"store.py": CODE.replace("2", "3")}, by=ANN, day=2)
    program = built.path.parent / "evil"
    ran = built.path.parent / "ran"
    program.write_text(f"#!/bin/sh\necho run >> {ran}\ncat\n")
    program.chmod(0o755)
    for name in (
        *("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass"),
        *("diff.external", "diff.evil.textconv", "diff.evil.command", "filter.evil.smudge"),
        *("filter.evil.clean", "filter.evil.process", "gpg.program", "pager.log", "alias.log"),
    ):
        built.git("config", name, str(program))
    for name, value in {
        "log.showSignature": "true",
        "color.ui": "always",
        "diff.noprefix": "true",
        "diff.interHunkContext": "9",
        "log.mailmap": "true",
        "core.hooksPath": str(built.path.parent),
    }.items():
        built.git("config", name, value)
    read_all(built, start, end)
    assert not ran.exists()


def test_a_replaced_commit_is_read_as_it_was(built: BuiltRepository) -> None:
    start = built.commit({"store.py": CODE}, by=AGENT, day=1)
    end = built.commit({"store.py": CODE.replace("2", "3")}, by=ANN, day=2)
    built.git("replace", end, start)
    read_all(built, start, end)


def test_a_mailmap_makes_nobody_another_person(built: BuiltRepository) -> None:
    built.commit({".mailmap": f"Ann <{ANN}> <eve@example.org>\n"}, by=AGENT, day=1)
    end = built.commit({"store.py": CODE}, by="eve@example.org", day=2)
    assert Repository(built.path).mainline(end)[0].author == "eve@example.org"


@pytest.mark.parametrize("name", ["--output=x", "-h", "main..HEAD", "no such branch", "main:README", ""])
def test_a_branch_that_is_none_is_refused(built: BuiltRepository, name: str) -> None:
    with pytest.raises(GitFailed):
        Repository(built.path).commit_id(name)


@pytest.mark.parametrize("id", ["--output=x", "HEAD", "main", "a" * 39, ""])
def test_only_ids_are_passed_to_git(built: BuiltRepository, id: str) -> None:
    read = Repository(built.path)
    with pytest.raises(GitFailed, match="not the id"):
        read.mainline(id)
    with pytest.raises(GitFailed, match="not the id"):
        read.changes(id)


def test_names_of_files_are_no_patterns_and_no_options(built: BuiltRepository) -> None:
    names = ["--help", ":(top)x", "*", 'quo"te', "new\nline", "ünïcode", "sp ace"]
    end = built.commit({name: f"{place}\n" for place, name in enumerate(names)}, by=AGENT, day=1)
    changes = Repository(built.path).changes(end)
    assert sorted(change.path for change in changes) == sorted(names)
    assert [diff.added for diff in Repository(built.path).diffs(end + "", [end], ["*"])] == []
    [start] = built.git("rev-list", "--max-parents=0", "HEAD").split()
    [diff] = Repository(built.path).diffs(start, [end], ["*"])
    assert diff.added == {"2"}


def test_lines_that_look_like_gits_own_are_lines(built: BuiltRepository) -> None:
    start = built.commit({"a.txt": "one\n"}, by=AGENT, day=1)
    forged = f"commit {'f' * 40}\n@@ -1 +1 @@\n-- a\n++ b\ndiff --git a/x b/x\n"
    end = built.commit({"a.txt": f"one\n{forged}"}, by=ANN, day=2)
    [diff] = Repository(built.path).diffs(start, [end], ["a.txt"])
    assert diff.commit.author == ANN
    assert diff.added == {"".join(line.split()) for line in forged.splitlines()}


def test_links_long_files_and_binaries_have_no_text(
    built: BuiltRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "FILE_BYTES_MAX", 10)
    (built.path / "link").symlink_to("/etc/passwd")
    (built.path / "binary").write_bytes(b"a\0b")
    end = built.commit({"long": "x" * 11, "short": "x\n"}, by=AGENT, day=1)
    read = Repository(built.path)
    changes = {change.path: change for change in read.changes(end)}
    assert not changes["link"].is_file
    assert list(read.texts(change.blob for change in changes.values() if change.is_file).values()) == ["x\n"]


def test_output_beyond_the_bound_ends_the_command(
    built: BuiltRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "OUTPUT_BYTES_MAX", 20)
    with pytest.raises(GitFailed, match="more than 20 bytes"):
        Repository(built.path).mainline(built.head())


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(GitFailed, match="ended with"):
            Repository(folder).commit_id("main")
