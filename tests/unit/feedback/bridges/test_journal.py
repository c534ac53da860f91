"""What was sent is known after a restart, whatever a crash did to the last line."""

from pathlib import Path

from feedback.bridges import journal as journal_module
from feedback.bridges.journal import JournalEntry, SentJournal, forget_authors


def build_entry(name: str, revised: str = "1") -> JournalEntry:
    return JournalEntry(name=name, revised=revised, fate="sent", id=f"{name}-{revised}", kind="approve")


def test_the_last_entry_of_each_name_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "bridges" / "ls.jsonl"
    with SentJournal(path) as journal:
        assert journal.entry("a") is None
        for entry in (build_entry("a"), build_entry("b"), build_entry("a", "2")):
            journal.note(entry)
    with SentJournal(path) as journal:
        assert (journal.entry("a"), journal.entry("b")) == (build_entry("a", "2"), build_entry("b"))
    assert len(path.read_text().splitlines()) == 2, "a start rewrites the file without what is outdated"


def test_names_with_line_ends_of_unicode_are_known_after_a_restart(tmp_path: Path) -> None:
    entries = [build_entry(f"a{end}b") for end in ("\u2028", "\u2029", "\x85", "\x1c", "\r")]
    with SentJournal(tmp_path / "ls.jsonl") as journal:
        for entry in entries:
            journal.note(entry)
    with SentJournal(tmp_path / "ls.jsonl") as journal:
        assert [journal.entry(entry.name) for entry in entries] == entries


def test_a_line_that_a_crash_cut_off_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "ls.jsonl"
    with SentJournal(path) as journal:
        journal.note(build_entry("a"))
    with path.open("a") as file:
        file.write('{"name": "b", "revi')
    with SentJournal(path) as journal:
        assert (journal.entry("a"), journal.entry("b")) == (build_entry("a"), None)


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "ENTRIES_MAX", 2)
    path = tmp_path / "ls.jsonl"
    with SentJournal(path) as journal:
        for name in ("a", "b", "a", "c"):
            journal.note(build_entry(name))
    with SentJournal(path) as journal:
        assert [journal.entry(name) is not None for name in "abc"] == [True, False, True]


def test_an_author_is_forgotten_while_the_bridge_runs(tmp_path: Path) -> None:
    ann = JournalEntry(name="a", revised="1", fate="sent", id="a-1", kind="approve", author="ann")
    with SentJournal(tmp_path / "ls.jsonl") as journal:
        journal.note(ann)
        journal.note(JournalEntry(name="b", revised="1", fate="sent", id="b-1", kind="approve", author="bob"))
        assert forget_authors(tmp_path, {"ann"}, dry_run=True) == 1
        assert journal.entry("a") == ann
        assert forget_authors(tmp_path, {"ann"}) == 1
        assert journal.entry("a") == JournalEntry(name="a", revised="1", fate="forgotten")
        journal.note(build_entry("c"))
    assert "ann" not in "".join(path.read_text() for path in tmp_path.iterdir())
    with SentJournal(tmp_path / "ls.jsonl") as journal:
        assert [journal.entry(name) is not None for name in "abc"] == [True, True, True]
        assert forget_authors(tmp_path, {"ann"}) == 0


def test_what_is_noted_after_an_author_was_forgotten_is_not_lost(tmp_path: Path) -> None:
    with SentJournal(tmp_path / "ls.jsonl") as journal:
        journal.note(JournalEntry(name="a", revised="1", fate="sent", id="a-1", kind="approve", author="ann"))
        forget_authors(tmp_path, {"ann"})
        journal.note(build_entry("b"))
    with SentJournal(tmp_path / "ls.jsonl") as journal:
        assert (journal.entry("a"), journal.entry("b")) == (
            JournalEntry(name="a", revised="1", fate="forgotten"),
            build_entry("b"),
        )
