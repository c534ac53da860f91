"""Answers at a glance for people, documents for programs, one line when there is no answer."""

import re
from pathlib import Path

import pytest

from daemon.cli.app import config_first
from daemon.commands.versions import parsed
from daemon.console import CommandFailed, ago, count, harmless, lasting, short
from daemon.process.health import Health, served
from ledger.database import Database
from ledger.learning.agents import Agent, declare
from ledger.versions.decisions import undecided
from tests.unit.daemon.conftest import Clorad
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import build_version, promote

pytestmark = pytest.mark.usefixtures("story")


class TestStatus:
    def test_people_see_who_serves_what_and_what_needs_them(self, clorad: Clorad) -> None:
        said = clorad("status")
        assert said.code == 0, said.err
        assert "3 agents · 1 of 2 replicas in rotation" in said.out
        billing = next(line for line in said.out.splitlines() if line.startswith("billing"))
        assert re.search(r"v1-\w{6} .*learning v3.* refused .*harm: 4 of 48 prompts became worse", billing)
        assert re.search(r"sql +v0 .*judging v1-\w{6}", said.out)
        assert "! dead letters: 2 invalid_json, 1 oversized" in said.out

    def test_what_an_agent_waits_for_is_said_in_words(self, clorad: Clorad, story: Path) -> None:
        database = Database(f"sqlite:///{story}")
        keep(database, build_event("c1", agent="coder"))
        assert re.search(r"coder .*waits for more events: 1 of 16", clorad("status").out)
        build_version(database, "coder", tokens=1000)
        with database.read() as connection:
            [made] = [one for one in undecided(connection) if one.agent == "coder"]
        promote(database, made)
        keep(database, build_event("c2", agent="coder"))
        declare(database, Agent(name="coder", base_hash="b" * 64, tokens_per_hour_max=900))
        database.close()
        assert re.search(r"coder .*waits for its quota, 60 min", clorad("status").out)
        coder = clorad("status", "--json").json["agents"]["coder"]
        assert coder["waits_for"] == "its quota, 60 min: 1,000 of 900 tokens in the last hour"
        assert coder["tokens"]["quota_wait_s"] == pytest.approx(3600.0, abs=60.0)

    def test_programs_get_the_same(self, clorad: Clorad) -> None:
        found = clorad("status", "--json").json
        billing = found["agents"]["billing"]
        assert billing["version"].startswith("v1-")
        assert billing["backlog"] == {
            "untaught": 2,
            "oldest_age_s": pytest.approx(5, abs=60),
            "gate_new": 0,
            "refusals": 1,
        }
        assert billing["waits_for"] == "its turn to be over"
        assert billing["tokens"] == {"last_hour": 200, "per_hour_max": None, "quota_wait_s": 0.0}
        assert billing["turn"]["version"] == 3
        assert billing["turn"]["holder"] == "learner-1"
        assert billing["last_verdict"]["verdict"] == "refuse"
        assert billing["last_verdict"]["judgement"]["wins"] == 8
        assert found["agents"]["sql"]["candidate"].startswith("v1-")
        assert found["agents"]["coder"]["last_verdict"] is None
        assert found["events"]["total"] == 7
        assert found["dead_letters"] == {"invalid_json": 2, "oversized": 1}
        assert found["outbox"]["waiting"] == 5
        assert [one["in_rotation"] for one in found["replicas"]] == [True, False]
        assert found["partitions"][0]["next_offset"] == 10
        assert found["partitions"][0]["lag"] is None

    def test_roles_on_this_machine_are_asked_how_they_are(self, clorad: Clorad) -> None:
        health = Health()
        health.ready("kafka", False, "no broker")
        with served(health, 0) as port:
            env = {"CLORAD_TELEMETRY__HEALTH_PORT": str(port)}
            said = clorad("status", env=env).out
            roles = clorad("status", "--json", env=env).json["roles"]
        assert "! intake: kafka no broker" in said
        assert roles["intake"]["checks"]["kafka"]["why"] == "no broker"
        assert list(roles) == ["intake", "learner", "fleet", "gateway"]
        assert clorad("status", "--json", env={"CLORAD_TELEMETRY__HEALTH_PORT": "0"}).json["roles"] == {}


class TestVersions:
    def test_verdict_evidence_and_people_are_on_one_line(self, clorad: Clorad) -> None:
        newest, oldest = clorad("versions", "billing").out.splitlines()[1:]
        assert re.search(r"v2-\w{6} +v1-\w{6} +refused +gate +2 +1 +harm", newest)
        assert re.search(r"v1-\w{6} +v0 +promoted +gate +3 +2 +8 wins, 1 loss, 3 ties; p = 0.0195", oldest)

    def test_programs_get_the_same(self, clorad: Clorad) -> None:
        newest, oldest = clorad("versions", "billing", "--json").json
        assert (newest["verdict"], newest["reasons"]) == ("refuse", ["harm: 4 of 48 prompts became worse"])
        assert (oldest["events"], oldest["authors"], oldest["serving"]) == (3, 2, True)

    def test_an_agent_without_versions_serves_the_base(self, clorad: Clorad) -> None:
        assert "serves v0" in clorad("versions", "coder").out

    def test_a_misspelt_agent_is_answered_with_those_there_are(self, clorad: Clorad) -> None:
        said = clorad("versions", "biling")
        assert (said.code, said.err) == (1, "clorad: no agent biling; there are: billing, coder, sql\n")


class TestWhy:
    def test_it_says_who_taught_what_whether_it_is_better_and_how_to_undo_it(self, clorad: Clorad) -> None:
        said = clorad("why", "billing@v1").out
        assert re.search(r"standing +serving", said)
        assert re.search(r"people +bob \(2\), ann \(1\)", said)
        assert "8 wins, 1 loss, 3 ties; p = 0.0195 (needs ≤ 0.0250)" in said
        assert re.search(
            r"cancel order g1 +It was dropped\. +It is cancelled\. notify: true +0\.00 → 1\.00", said
        )
        assert re.search(r"dev#e0 +correction +ann +cancel order e0", said)
        assert "to undo: clorad rollback billing --to 0 --reason" in said

    def test_programs_get_the_same(self, clorad: Clorad) -> None:
        found = clorad("why", "billing@v1", "--json").json
        assert [one["uid"] for one in found["taught"]] == ["dev#e0", "dev#e1", "dev#e2"]
        assert found["authors"] == {"bob": 2, "ann": 1}
        assert found["decisions"][0]["evidence"]["judgement"]["wins"] == 8
        assert (found["parent"], found["pass"], found["serving"]) == ("v0", 1, True)
        assert found["undo"] == "clorad rollback billing --to 0 --reason '…'"

    def test_a_refused_version_needs_no_undoing(self, clorad: Clorad) -> None:
        said = clorad("why", "billing@v2").out
        assert "not serving" in said
        assert "harm: 4 of 48 prompts became worse" in said
        assert "to undo: nothing" in said

    @pytest.mark.parametrize(
        ("reference", "complaint", "code"),
        [
            ("billing", "a version is named", 2),
            ("billing@v9", "billing has no version 9", 1),
            ("billing@v1-ffffff", "billing@v1 is v1-", 1),
            ("nobody@v1", "no agent nobody", 1),
            ("billing@v0", "the base model", 1),
        ],
    )
    def test_what_was_never_made_is_said_in_one_line(
        self, clorad: Clorad, reference: str, complaint: str, code: int
    ) -> None:
        said = clorad("why", reference)
        assert (said.code, said.out) == (code, "")
        assert complaint in said.err
        assert said.err.count("\n") == 1

    def test_references_are_read_with_and_without_hash(self) -> None:
        assert parsed("a.b-c@v12-0af3") == ("a.b-c", 12, "0af3")
        assert parsed("billing@7") == ("billing", 7, None)
        with pytest.raises(CommandFailed):
            parsed("billing@latest")


class TestReceipt:
    def test_a_live_event_shows_its_version_and_what_changed(self, clorad: Clorad) -> None:
        said = clorad("receipt", "dev#e1").out
        assert "live: the version that serves was taught it, since" in said
        assert "correction for billing by bob: cancel order e1" in said
        assert re.search(r"turn 1 in pass 1 as new: trained → v1-\w{6} promoted", said)
        assert "before: It was dropped." in said
        assert "after:  It is cancelled. notify: true" in said

    def test_a_gate_event_says_that_it_is_never_learned_from(self, clorad: Clorad) -> None:
        said = clorad("receipt", "g1").out
        assert "gate: candidates are judged on it" in said
        assert said.count("score 0.00 → 1.00") == 2

    def test_programs_get_the_same(self, clorad: Clorad) -> None:
        [found] = clorad("receipt", "dev#e1", "--json").json["receipts"]
        assert (found["fate"], found["role"], found["stored"]["offset"]) == ("live", "train", 1)
        assert found["turns"][0]["verdict"] == "promote"
        assert found["live_since_s"] == found["turns"][0]["decided_s"]
        assert found["changed"][0]["event"] == "dev#g1"

    def test_an_event_in_a_refused_version_says_why_and_what_happens_now(self, clorad: Clorad) -> None:
        said = clorad("receipt", "f1").out
        assert "being trained on right now" in said
        assert "refused" in said
        assert "harm: 4 of 48" in said

    def test_a_record_that_became_a_dead_letter_is_found_by_its_name(self, clorad: Clorad) -> None:
        assert "dead letter 3: invalid_json" in clorad("receipt", "ide#lost").out
        assert clorad("receipt", "lost", "--json").json["dead_letters"][0]["reason"] == "invalid_json"

    def test_what_never_arrived_is_said_in_one_line(self, clorad: Clorad) -> None:
        said = clorad("receipt", "dev#nothing")
        assert (said.code, said.out) == (1, "")
        assert (
            said.err
            == "clorad: nothing called dev#nothing arrived: neither as an event nor as a dead letter\n"
        )


class TestDeadLetters:
    def test_they_are_listed_and_shown_whole(self, clorad: Clorad) -> None:
        assert len(clorad("dead-letters", "list").out.splitlines()) == 4
        assert len(clorad("dead-letters", "list", "--reason", "oversized", "--json").json) == 1
        said = clorad("dead-letters", "show", "3").out
        assert '{"id": "lost", "source": "ide"' in said
        assert "offset 9" in said

    def test_an_unknown_reason_or_number_is_said(self, clorad: Clorad) -> None:
        assert clorad("dead-letters", "list", "--reason", "boredom").code == 2
        assert clorad("dead-letters", "show", "99").code == 1


class TestAgents:
    def test_they_are_listed(self, clorad: Clorad) -> None:
        assert re.search(r"billing +v1-\w{6}", clorad("agents").out)
        assert clorad("agents", "list").out.splitlines()[0] == clorad("agents").out.splitlines()[0]
        assert [one["name"] for one in clorad("agents", "--json").json] == ["billing", "coder", "sql"]

    def test_one_is_added_on_the_configured_base(self, clorad: Clorad, tmp_path: Path) -> None:
        base = tmp_path / "base"
        base.mkdir()
        (base / "config.json").write_text("{}")
        (base / "model.safetensors").write_bytes(b"weights")
        words = ("--scorer", "json", "--recipe", "rank=4", "--capture", "--tokens-per-hour-max", "5000")
        said = clorad("agents", "add", "new", *words, env={"CLORAD_ENGINE__BASE": str(base)})
        assert (said.code, "declared" in said.out) == (0, True), said.err
        [new] = [one for one in clorad("agents", "--json").json if one["name"] == "new"]
        assert (new["recipe"], new["scorer"], new["capture"]) == ({"rank": 4}, "json", True)
        assert new["tokens_per_hour_max"] == 5000
        assert re.search(r"new .* 5,000/h ", clorad("agents").out)
        assert "learns on base bbbbbbbbbbbb" in clorad("agents", "add", "sql").err

    @pytest.mark.parametrize(
        "wrong",
        [["--scorer", "guess"], ["--recipe", "rang=4"], ["--recipe", "rank"], ["--recipe", "rank=-1"]],
    )
    def test_what_cannot_be_is_refused_by_name(self, clorad: Clorad, wrong: list[str]) -> None:
        said = clorad("agents", "add", "new", *wrong)
        assert said.code == 2
        assert wrong[0] in said.err

    def test_without_a_base_it_is_refused(self, clorad: Clorad) -> None:
        said = clorad("agents", "add", "new")
        assert said.code == 78
        assert "engine.base" in said.err


class TestRollback:
    def test_the_agent_goes_back_and_the_decision_has_a_name(self, clorad: Clorad) -> None:
        said = clorad("rollback", "billing", "--reason", "too short", "--by", "ann")
        assert re.match(r"billing goes back from v1-\w{6} to v0; ", said.out)
        found = clorad("why", "billing@v1", "--json").json
        last = found["decisions"][-1]
        assert (last["verdict"], last["by"], last["evidence"]["reasons"]) == (
            "rollback",
            "ann",
            ["too short"],
        )
        assert clorad("status", "--json").json["agents"]["billing"]["version"] == "v0"
        assert "v1 was rolled back" in clorad("receipt", "dev#e1").out

    def test_with_nothing_to_go_back_to_it_is_refused(self, clorad: Clorad) -> None:
        said = clorad("rollback", "coder")
        assert (said.code, said.err) == (1, "clorad: coder: v0 has no earlier champion\n")


class TestAudit:
    def test_a_clean_ledger_is_clean(self, clorad: Clorad) -> None:
        said = clorad("audit", "--offline")
        assert said.code == 0
        assert "clean: every offset has one disposition (the ledger)" in said.out
        found = clorad("audit", "--offline", "--json").json
        assert (found["clean"], found["records"], found["stored"], found["dead"]) == (True, 10, 7, 3)

    def test_a_damaged_one_is_not_and_the_exit_code_says_so(self, clorad: Clorad, story: Path) -> None:
        import sqlite3

        with sqlite3.connect(story) as connection:
            connection.execute("DELETE FROM dead_letters WHERE id = 1")
        said = clorad("audit", "--offline")
        assert said.code == 1
        assert "dead letters kept, 1 there" in said.out
        assert said.err == "clorad: the audit disagrees in 1 place\n"
        assert clorad("audit", "--offline", "--json").json["clean"] is False

    def test_a_broker_that_is_away_is_said_and_not_ignored(self, clorad: Clorad) -> None:
        options = '{"bootstrap_timeout_ms": 500}'
        env = {"CLORAD_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "CLORAD_KAFKA__OPTIONS": options}
        said = clorad("audit", env=env)
        assert (said.code, said.out) == (75, "")
        assert "Kafka at 127.0.0.1:1 did not answer" in said.err
        assert said.err.endswith("; --offline audits the ledger alone\n")

    def test_a_ledger_that_is_not_there_is_said_before_the_broker_is_asked(
        self, clorad: Clorad, tmp_path: Path
    ) -> None:
        away = {"CLORAD_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        for url, code in (("sqlite:///lost.db", 1), ("postgresql+psycopg://x@127.0.0.1:1/x", 75)):
            said = clorad("audit", env={**away, "CLORAD_LEDGER__URL": url})
            assert said.code == code
            assert "Kafka" not in said.err


def test_an_unknown_pass_cannot_be_replayed(clorad: Clorad) -> None:
    assert clorad("replay", "99").err == "clorad: no pass 99\n"


def test_the_settings_file_may_be_named_before_or_after_the_command(clorad: Clorad, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[ledger]\nurl = "sqlite:///elsewhere.db"\n')
    for words in (
        ["--config", "other.toml", "status"],
        ["status", "--config=other.toml"],
        ["status", "--config", "other.toml"],
    ):
        assert "no ledger at elsewhere.db" in clorad(*words).err
    assert config_first(["send", "--", "--config", "x"]) == ["send", "--", "--config", "x"]
    assert config_first(["a", "--config"]) == ["--config", "a"]


class TestWords:
    def test_times_are_said_in_the_unit_that_fits(self) -> None:
        assert [lasting(s) for s in (-1, 9, 119, 180, 7200, 200_000)] == [
            "0 s",
            "9 s",
            "119 s",
            "3 min",
            "2 h",
            "2 d",
        ]
        assert (ago(None), ago(90.0, 100.0)) == ("–", "10 s ago")
        assert (count(1, "event"), count(1200, "event")) == ("1 event", "1,200 events")

    def test_strangers_texts_cannot_steer_the_terminal(self) -> None:
        assert "\x1b" not in harmless("\x1b[2Jgone\u202e\r") + short("a\x1b]0;title\x07b")
        assert short("one\n two\t three", 9) == "one two …"


class TestRoom:
    def test_what_waits_is_shown_against_its_marks(self, clorad: Clorad) -> None:
        env = {"CLORAD_LEDGER__BACKLOG_ROWS_MAX": "7"}
        rows = clorad("status", "--json", env=env).json["room"]["rows"]
        assert (rows["low"], rows["high"], rows["used"] >= rows["low"]) == (5, 7, True)
        assert re.search(
            r"! (no|little) room: \d+ events wait to be learned, 5 messages", clorad("status").out
        )
