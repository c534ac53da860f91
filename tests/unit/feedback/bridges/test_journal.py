"""What was sent is known after a restart, whatever a crash did to the last line."""

from pathlib import Path

from feedback.bridges import journal as journal_module
from feedback.bridges.journal import JournalEntry, SentJournal


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
