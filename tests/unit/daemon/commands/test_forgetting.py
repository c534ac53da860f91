"""`clorad forget`, as an operator asks for it."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.learning.learner import Learner
from daemon.learning.loop import resume_pass, start_pass
from engine.warm_engine import WarmEngine
from feedback.bridges.journal import JournalEntry, SentJournal
from feedback.redaction import RedactionCounts, Redactor
from ledger.database import Database
from ledger.events import Role
from ledger.identity import ensure_identity
from ledger.upkeep import forgetting
from ledger.upkeep.mentions import Subject
from tests.unit.daemon.conftest import Clorad, bury, correction
from tests.unit.daemon.learning.test_loop import (
    Killed,
    corrections,
    database,
    engine,
    killed_at,
    learner,
    made,
    make_due,
    promote,
)
from tests.unit.daemon.learning.test_replay import trained
from tests.unit.ledger.event_builder import INTERACTIONS, build_interaction, keep

__all__ = ["database", "engine", "learner", "trained"]  # fixtures

WHY = ("--reason", "asked on Monday", "--by", "dpo")


class TestForget:
    @pytest.fixture
    def with_ann(self, clorad: Clorad, story: Path) -> Clorad:
        """The story, and further texts by ann: under her address, in a dead letter and an interaction."""
        with closing(Database(f"sqlite:///{story}")) as ledger:
            identity = ensure_identity(ledger)
            token = Redactor(identity.fingerprint).name("ann@example.com", RedactionCounts())
            keep(ledger, correction("m1", author=token))
            bury(ledger, b'{"id": "m2", "data": {"author": "ann@example.com"}')
            keep(ledger, build_interaction("i1", conversation="talk"), partition=INTERACTIONS)
        return clorad

    def test_it_is_tried_done_and_told_again(self, with_ann: Clorad) -> None:
        tried = with_ann("forget", "--author", "ann", "--dry-run")
        assert (tried.code, "nothing was changed" in tried.out) == (0, True)
        assert with_ann("why", "billing@v1", "--json").json["authors"]["ann"] == 1
        done = with_ann("forget", "--author", "ann", *WHY)
        assert done.code == 0, done.err
        assert "forgotten, as erasure 1" in done.out
        assert "billing: 2 versions learned from it: v1-000001, v2-000002" in done.out
        assert "in the weights of v1-000001; to undo: clorad rollback billing --to 0 --reason '…'" in done.out
        again = with_ann("forget", "--author", "ann", *WHY)
        assert (again.code, "nothing of it was left" in again.out) == (0, True)
        assert "it was asked for before: erasure 1 (author)" in again.out

    def test_the_journals_of_bridges_on_this_machine_forget_too(
        self, with_ann: Clorad, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("CLORAD_BRIDGES__PATH", str(tmp_path / "journals"))
        entry = JournalEntry(name="a", revised="1", fate="sent", id="1", kind="approve", author="ann")
        with SentJournal(tmp_path / "journals" / "scores.jsonl") as journal:
            journal.note(entry)
            assert with_ann("bridge", "forget", "--author", "ann", "--dry-run").out.startswith("1 entry")
            assert with_ann("forget", "--author", "ann", "--json", *WHY).json["journal_entries"] == 1
            assert journal.entry("a") == JournalEntry(name="a", revised="1", fate="forgotten")
        assert with_ann("bridge", "forget", "--author", "ann").out.startswith("0 entries")

    def test_it_can_be_asked_for_afterwards(self, with_ann: Clorad) -> None:
        done = with_ann("forget", "--author", "ann", "--json", *WHY).json
        assert (done["erasure"], done["dry_run"]) == (1, False)
        why = with_ann("why", "billing@v1", "--json").json
        assert why["authors"] == {"bob": 2, "forgotten-1": 1}
        assert [taught["forgotten"] for taught in why["taught"]] == [1, None, None]
        assert (why["erasures"][0]["by"], why["erasures"][0]["reason"]) == ("dpo", "asked on Monday")
        shown = with_ann("why", "billing@v1").out
        assert "forgotten (erasure 1)" in shown
        assert "by dpo: some of what it was shown was forgotten since" in shown
        receipt = with_ann("receipt", "dev#e0").out
        assert "not used: retracted (forgotten: erasure 1)" in receipt
        audit = with_ann("audit", "--offline")
        assert (audit.code, "clean" in audit.out) == (0, True)
        assert "erasure 1 (author)" in audit.out
        assert with_ann("audit", "--offline", "--json").json["erasures"][0]["counts"] == done["rows"]
        assert with_ann("status", "--json").json["events"]["retracted"] >= 1

    def test_a_name_is_found_under_the_token_that_redaction_gave_it(self, with_ann: Clorad) -> None:
        tried = with_ann("forget", "--author", "ann@example.com", "--dry-run", "--json").json
        assert tried["rows"] == {"dead_letters": 1, "messages": 1, "events": 1}
        token = with_ann("receipt", "dev#m1", "--json").json["receipts"][0]["author"]
        assert token.startswith("redacted:")
        assert with_ann("forget", "--author", token, "--dry-run", "--json").json["rows"]["events"] == 1
        assert with_ann("forget", "--author", "ann@example.com", *WHY).code == 0
        assert with_ann("forget", "--author", token, *WHY).code == 0, "known as the same"

    def test_evidence_letters_and_records_that_were_forgotten_are_not_shown_or_sent(
        self, with_ann: Clorad
    ) -> None:
        assert "It was dropped." in with_ann("receipt", "dev#g1").out
        assert with_ann("forget", "--event", "dev#g1", "--json", *WHY).json["rows"]["decisions"] == 2
        assert "It was dropped." not in with_ann("receipt", "dev#g1").out
        with_ann("forget", "--author", "ann@example.com", *WHY)
        letters = with_ann("dead-letters", "redrive", "--all", "--dry-run", "--json").json["letters"]
        assert letters[-1]["kept_back"] == "it was forgotten: erasure 2"
        shown = with_ann("dead-letters", "show", str(letters[-1]["id"]))
        assert "erasure 2" in shown.out
        assert "example.com" not in shown.out

    @pytest.mark.parametrize(
        ("words", "code", "complaint"),
        [
            ((), 2, "--author, --event and --conversation"),
            (("--author", "a", "--event", "b"), 2, "--author, --event and --conversation"),
            (("--author", "ann"), 2, "--reason"),
            (("--event", "e0", "--reason", "x"), 2, "SOURCE#ID"),
            (("--author", "An", "--reason", "x"), 1, "has no author An"),
            (("--event", "dev#e77", "--dry-run"), 1, "has no event dev#e77"),
            (("--conversation", "talks", "--reason", "x"), 1, "has no conversation talks"),
        ],
    )
    def test_what_is_unclear_or_not_there_is_said(
        self, with_ann: Clorad, words: tuple[str, ...], code: int, complaint: str
    ) -> None:
        result = with_ann("forget", *words)
        assert (result.code, result.out, complaint in result.err) == (code, "", True)

    def test_a_conversation_goes(self, with_ann: Clorad) -> None:
        rows = with_ann("forget", "--conversation", "talk", "--json", *WHY).json["rows"]
        assert rows == {"interactions": 1}

    def test_a_reader_that_keeps_the_log_is_said(self, with_ann: Clorad, story: Path) -> None:
        with closing(sqlite3.connect(story, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            result = with_ann("forget", "--author", "ann", *WHY)
        assert (result.code, "forgotten, as erasure 1" in result.out) == (75, True)
        assert "clorad ledger vacuum" in result.err
        assert "rewritten: " in with_ann("ledger", "vacuum").out


class TestLearners:
    def test_a_pass_whose_events_were_forgotten_cannot_be_replayed(self, trained: Clorad) -> None:
        assert trained("forget", "--event", "dev#billing-train-0", *WHY).code == 0
        result = trained("replay", "1")
        assert (result.code, result.out) == (1, "")
        assert "some of what billing's turn was made of was forgotten since (erasure 1)" in result.err

    def test_a_pass_that_began_with_a_pruned_version_cannot_be_replayed(
        self, trained: Clorad, learner: Learner, database: Database
    ) -> None:
        for wave in ("b", "c"):
            promote(database, "billing")
            keep(database, *corrections("billing", 6, prefix=wave))
            keep(database, *corrections("billing", 8, role=Role.GATE, prefix=wave))
            assert start_pass(learner, threading.Event())
        promote(database, "billing")
        assert trained("versions", "prune", "--keep", "1", "--agent", "billing").code == 0
        result = trained("replay", "2")
        assert "billing@v1-" in result.err
        assert "its files are gone" in result.err

    def test_a_learner_that_resumes_what_was_forgotten_meanwhile_goes_on(
        self, learner: Learner, database: Database, engine: WarmEngine
    ) -> None:
        make_due(database, "billing", "sql")
        with pytest.raises(Killed):
            start_pass(replace(learner, failpoint=killed_at("learner-training")), threading.Event())
        subject = Subject(kind="event", uids=frozenset({("dev", "billing-train-0")}))
        assert forgetting.forget(database, subject, whom="f", by="dpo", reason="x").counts["turns"] == 1
        assert resume_pass(learner, threading.Event())
        assert set(made(database)) == {"sql v1"}
