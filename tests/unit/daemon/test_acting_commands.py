"""Sending, making ledgers, printing schemas: what is refused before anything is sent, and how it ends."""

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from daemon.commands import broker
from daemon.commands.broker import TextsOnly
from ledger.database import Database
from tests.unit.daemon.conftest import Clorad
from tests.unit.ledger.schema_builder import build_schema

AWAY = {"CLORAD_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
WHOLE = ("--agent", "billing", "--prompt", "cancel it", "--rejected", "no", "--corrected", "yes")


class TestSend:
    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (("correction", *WHOLE[:6]), "corrected"),
            (("correction", *WHOLE[2:]), "agent"),
            (
                ("correction", "--agent", "billing", "--corrected", "yes"),
                "needs messages and rejected, or interaction",
            ),
            (
                ("intervention", "--agent", "billing", "--action", "shout", "--prompt", "x", "--said", "y"),
                "action: literal_error ('takeover', 'override', ",
            ),
            (("intervention", "--agent", "billing", "--action", "takeover", "--prompt", "x"), "turns"),
            (
                ("outcome", "--agent", "billing", "--value", "7", "--interaction", "i"),
                "value: less_than_equal (1.0)",
            ),
            (("retraction", "no-hash-sign", "--agent", "billing"), "SOURCE#ID"),
            (("correction", "--file", "missing.json"), "--file: No such file"),
            (("correction", "--file", "broken.json"), "--file: not JSON"),
            (("correction", "--file", "list.json"), "one JSON object"),
            (("correction", *WHOLE, "--source", ""), "source: missing"),
            (("correction", *WHOLE, "--comment", "x" * 300_000), "at most 262144"),
        ],
    )
    def test_what_intake_would_refuse_is_refused_here(
        self, clorad: Clorad, words: tuple[str, ...], complaint: str
    ) -> None:
        Path("broken.json").write_text("{")
        Path("list.json").write_text("[]")
        said = clorad("send", *words, env=AWAY)
        assert said.code == 2
        assert complaint in said.err
        assert said.err.count("\n") == 1

    def test_texts_are_not_repeated_in_a_complaint(self, clorad: Clorad) -> None:
        said = clorad("send", "outcome", "--agent", "billing", "--prompt", "my secret", env=AWAY)
        assert said.code == 2
        assert "secret" not in said.err

    def test_an_event_may_come_from_standard_input(self, clorad: Clorad) -> None:
        data = {"agent": "billing", "author": "ann", "corrected": 7}
        said = clorad("send", "correction", "--file", "-", stdin=json.dumps(data), env=AWAY)
        assert "corrected: string_type" in said.err

    def test_what_was_perhaps_sent_can_be_sent_again_under_its_id(
        self, clorad: Clorad, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker, "ACK_S_MAX", 1.0)
        said = clorad("send", "correction", *WHOLE, "--id", "e-17", "--json", env=AWAY)
        assert (said.code, said.out) == (75, ""), "nothing that a program would take for an answer"
        assert "--id e-17" in said.err

    def test_texts_are_redacted_here_and_names_by_intake(self) -> None:
        redactor = TextsOnly()
        assert (
            "ann@example.com" not in redactor.value({"reply": "write to ann@example.com"}, _found())["reply"]
        )
        assert redactor.name("ann@example.com", _found()) == "ann@example.com"


def _found():
    from collections import Counter

    return Counter()


class TestLedger:
    def test_it_is_made_checked_and_made_again(self, clorad: Clorad, tmp_path: Path) -> None:
        missing = clorad("status")
        assert (missing.code, missing.out) == (1, "")
        assert "no ledger at clorad.db" in missing.err
        assert not (tmp_path / "clorad.db").exists()
        for _ in range(2):
            assert clorad("ledger", "migrate").code == 0
        assert "is the one this version needs" in clorad("ledger", "check").out
        assert "no agents yet" in clorad("status").out
        assert "no agents yet" in clorad("agents").out
        assert clorad("audit", "--offline").code == 0

    def test_another_schema_is_refused(self, clorad: Clorad, tmp_path: Path) -> None:
        clorad("ledger", "migrate")
        with sqlite3.connect(tmp_path / "clorad.db") as connection:
            connection.execute("ALTER TABLE replicas DROP COLUMN note")
        said = clorad("ledger", "check")
        assert (said.code, "differs in 1 place" in said.err) == (1, True)

    def test_an_older_ledger_is_refused_but_can_be_backed_up_and_migrated(
        self, clorad: Clorad, tmp_path: Path
    ) -> None:
        with closing(Database(f"sqlite:///{tmp_path / 'clorad.db'}")) as database:
            build_schema(database, "0001")
        for words in (("status",), ("agents",), ("audit", "--offline"), ("ledger", "check"), ("why", "a@v1")):
            printed = clorad(*words)
            assert (printed.code, printed.out) == (78, "")
            assert printed.err.startswith("clorad: the ledger has schema 0001, this clorad needs ")
            assert printed.err.count("\n") == 1
        assert clorad("ledger", "backup", "old.db").code == 0
        assert "schema 0001; restoring it updates it to" in clorad("ledger", "check", "old.db").out
        assert clorad("ledger", "migrate").code == 0
        assert clorad("status").code == 0
        assert clorad("ledger", "restore", "old.db").code == 0
        assert clorad("status").code == 0

    def test_a_newer_ledger_and_a_newer_backup_are_refused(self, clorad: Clorad, tmp_path: Path) -> None:
        clorad("ledger", "migrate")
        with sqlite3.connect(tmp_path / "clorad.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        for words in (("status",), ("ledger", "migrate"), ("ledger", "vacuum"), ("forget", "--author", "a")):
            printed = clorad(*words, *(["--reason", "x"] if words[0] == "forget" else []))
            assert (printed.code, printed.out) == (78, "")
            assert printed.err.startswith("clorad: the ledger has schema 9999, this clorad knows 0001 to ")
        assert clorad("ledger", "backup", "newer.db").code == 0
        for words in (("ledger", "check", "newer.db"), ("ledger", "restore", "newer.db")):
            printed = clorad(*words)
            assert (printed.code, printed.out) == (1, "")
            assert "newer.db has schema 9999, this clorad knows 0001 to " in printed.err

    def test_a_file_that_is_no_ledger_is_refused(self, clorad: Clorad, tmp_path: Path) -> None:
        (tmp_path / "clorad.db").write_text("not a database, but long enough to be taken for one" * 50)
        said = clorad("status")
        assert (said.code, said.out) == (78, "")
        assert "is no SQLite database" in said.err

    def test_a_database_that_is_away_is_said(self, clorad: Clorad) -> None:
        said = clorad("status", env={"CLORAD_LEDGER__URL": "postgresql+psycopg://x@127.0.0.1:1/x"})
        assert said.code == 75
        assert said.err.startswith("clorad: the ledger is unavailable (OperationalError: connection failed: ")
        assert "Connection refused" in said.err
        assert said.err.endswith("; see ledger.url\n")
        assert said.err.count("\n") == 1

    def test_a_backup_that_is_not_there_is_said_in_words(self, clorad: Clorad) -> None:
        for words in (("ledger", "check", "lost"), ("ledger", "restore", "lost")):
            said = clorad(*words)
            assert (said.code, "lost: No such file or directory" in said.err) == (1, True)

    @pytest.mark.parametrize(
        "words",
        [
            ("replay", str(2**63)),
            ("dead-letters", "show", str(2**63)),
            ("dead-letters", "redrive", str(2**63)),
            ("rollback", "billing", "--to", str(2**63)),
        ],
    )
    def test_numbers_beyond_the_ledgers_are_refused(self, clorad: Clorad, words: tuple[str, ...]) -> None:
        clorad("ledger", "migrate")
        said = clorad(*words)
        assert said.code == 2
        assert str(2**63 - 1) in "".join(said.err.split())


class TestSchema:
    @pytest.mark.parametrize(
        "name", ["correction", "clorad.intervention.v1", "outcome", "retraction", "interaction"]
    )
    def test_every_type_has_one(self, clorad: Clorad, name: str) -> None:
        assert clorad("schema", name).json["$schema"].endswith("2020-12/schema")

    def test_an_unknown_type_is_answered_with_those_there_are(self, clorad: Clorad) -> None:
        said = clorad("schema", "applause")
        assert said.code == 2
        assert "clorad.correction.v1" in said.err


def test_a_kafka_version_that_is_none_is_refused_in_one_line(clorad: Clorad) -> None:
    said = clorad("topics", "create", env={"CLORAD_KAFKA__OPTIONS__API_VERSION": "newest"})
    assert (said.code, said.err) == (78, 'clorad: kafka.options: api_version must be like "2.3" or [2, 3]\n')


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ('{"request_timeout_ms": "soon"}', "request_timeout_ms must be a number, not a text\n"),
        ('{"request_timeout_ms": true}', "request_timeout_ms must be a number\n"),
        ('{"check_crcs": "no"}', "check_crcs must be true or false, not a text\n"),
        ('{"check_crcs": 0}', "check_crcs must be true or false\n"),
        ('{"client_rack": 7}', "client_rack must be a text\n"),
        ('{"retries": []}', "retries must be a number\n"),
    ],
)
def test_kafka_options_of_another_kind_are_refused_in_one_line(
    clorad: Clorad, option: str, expected: str
) -> None:
    for words in (("topics", "create"), ("config", "--check")):
        said = clorad(*words, env={"CLORAD_KAFKA__OPTIONS": option})
        assert (said.code, said.err.count("\n")) == (78, 1)
        assert said.err.startswith(f"clorad: kafka.options: {expected}")


def test_kafka_options_as_kafka_python_takes_them_are_taken(clorad: Clorad) -> None:
    options = '{"request_timeout_ms": 500, "linger_ms": 0.5, "acks": "all", "retries": 3, "client_id": "c"}'
    assert clorad("config", "--check", env={"CLORAD_KAFKA__OPTIONS": options}).code == 0


def test_topics_are_not_made_where_no_broker_answers(clorad: Clorad) -> None:
    options = {"CLORAD_KAFKA__OPTIONS": '{"bootstrap_timeout_ms": 500}'}
    said = clorad("topics", "create", env={**AWAY, **options})
    assert (said.code, said.out) == (75, "")
    assert "Kafka at 127.0.0.1:1 did not answer" in said.err


def test_options_kafka_python_does_not_know_are_refused(clorad: Clorad) -> None:
    said = clorad("topics", "create", env={"CLORAD_KAFKA__OPTIONS": '{"sasl_mechanics": "PLAIN"}'})
    assert (said.code, "sasl_mechanics" in said.err) == (78, True)


def test_a_role_that_does_not_exist_cannot_be_left_out(clorad: Clorad) -> None:
    said = clorad("run", "--without", "dashboard")
    assert said.code == 2
    assert "intake, learner, fleet, gateway" in said.err


def test_the_version_is_said(clorad: Clorad) -> None:
    from daemon import __version__

    assert clorad("--version").out == f"clorad {__version__}\n"


@pytest.mark.usefixtures("story")
class TestRedriving:
    def test_which_letters_must_be_said(self, clorad: Clorad) -> None:
        said = clorad("dead-letters", "redrive")
        assert (said.code, said.out) == (2, "")
        assert "--reason or --all" in said.err
        assert "no dead letter 77" in clorad("dead-letters", "redrive", "1", "77").err
        assert "there are: invalid_utf8" in clorad("dead-letters", "redrive", "--reason", "rain").err

    def test_a_dry_run_tells_what_would_go_and_changes_nothing(self, clorad: Clorad) -> None:
        waiting = clorad("status", "--json").json["outbox"]["waiting"]
        told = clorad("dead-letters", "redrive", "--all", "--dry-run", "--json").json
        assert told["dry_run"] is True
        assert [one["kept_back"] for one in told["letters"]] == [None, "only its beginning was kept", None]
        lost = told["letters"][2]["record"]
        assert (lost["topic"], base64.b64decode(lost["key"])) == ("clorad.feedback", b"k")
        assert base64.b64decode(lost["value"]) == b'{"id": "lost", "source": "ide"'
        assert lost["headers"] == [["ce_id", "lost"], ["ce_source", "ide"], ["clorad_redriven", "3"]]
        assert "2 letters would go" in clorad("dead-letters", "redrive", "--all", "--dry-run").out
        assert clorad("status", "--json").json["outbox"]["waiting"] == waiting

    def test_they_go_once_unless_named(self, clorad: Clorad) -> None:
        assert "2 letters owed" in clorad("dead-letters", "redrive", "--reason", "invalid_json").out
        assert clorad("dead-letters", "show", "3", "--json").json["redriven_s"] is not None
        assert "no dead letters" in clorad("dead-letters", "redrive", "--reason", "invalid_json").out
        again = clorad("dead-letters", "redrive", "3", "--json").json
        assert [one["id"] for one in again["letters"]] == [3]


class TestBackups:
    def test_a_backup_is_made_checked_and_gone_back_to(self, clorad: Clorad, story: Path) -> None:
        assert "10 offsets accounted for" in clorad("ledger", "backup", "copy.db").out
        assert "sound, ledger" in clorad("ledger", "check", "copy.db").out
        assert "exists already" in clorad("ledger", "backup", "copy.db").err
        refused = clorad("ledger", "restore", "copy.db")
        assert (refused.code, "learner-1" in refused.err) == (1, True), "its lease is live"
        clorad("agents", "add", "later", env={"CLORAD_ENGINE__BASE": str(a_base(story.parent))})
        said = clorad("ledger", "restore", "copy.db", "--force")
        assert said.code == 0, said.err
        assert "what it was is in copy.db.replaced-" in said.out
        found = clorad("status", "--json").json
        assert (list(found["agents"]), found["restores"]) == (["billing", "coder", "sql"], 1)

    @pytest.mark.usefixtures("story")
    def test_a_damaged_ledger_is_named(self, clorad: Clorad) -> None:
        with sqlite3.connect("clorad.db") as connection:
            connection.execute("UPDATE ranges SET dead = dead + 1, duplicates = duplicates - 1")
        connection.close()
        Path("text").write_text("no backup")
        assert "no sound ledger" in clorad("ledger", "check", "text").err
        assert clorad("ledger", "check").code == 1


def a_base(folder: Path) -> Path:
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"weights")
    return base
