"""`clorad status`: who serves what, and what needs a person."""

import re
from pathlib import Path

import pytest

from daemon.process.health import Health, served
from ledger.database import Database
from ledger.learning.agents import Agent, declare
from ledger.versions import promotion
from ledger.versions.decisions import BY_NOBODY, Verdict, undecided
from ledger.versions.evidence import Circumstances, Evidence
from ledger.versions.gate_modes import GateMode
from ledger.versions.looks import keep as keep_champion
from ledger.versions.looks import serving_champions
from tests.unit.daemon.conftest import Clorad
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.turn_builder import JUDGEMENT, build_decision, build_version, promote

pytestmark = pytest.mark.usefixtures("story")


class TestStatus:
    def test_people_see_who_serves_what_and_what_needs_them(self, clorad: Clorad) -> None:
        result = clorad("status")
        assert result.code == 0, result.err
        assert "3 agents · 1 of 2 replicas in rotation" in result.out
        billing = next(line for line in result.out.splitlines() if line.startswith("billing"))
        assert re.search(r"v1-\w{6} .*learning v3.* refused .*harm: 4 of 48 prompts became worse", billing)
        assert re.search(r"sql +v0 .*judging v1-\w{6}", result.out)
        assert "! dead letters: 2 invalid_json, 1 oversized" in result.out

    def test_what_an_agent_waits_for_is_said_in_words(self, clorad: Clorad, story: Path) -> None:
        database = Database(f"sqlite:///{story}")
        keep(database, build_event("c1", agent="coder"))
        assert re.search(r"coder .*waits for more events: 1 of 16", clorad("status").out)
        build_version(database, "coder", tokens=1000)
        with database.read() as connection:
            [made] = [candidate for candidate in undecided(connection) if candidate.agent == "coder"]
        promote(database, made)
        keep(database, build_event("c2", agent="coder"))
        declare(database, Agent(name="coder", base_hash="b" * 64, tokens_per_hour_max=900))
        database.close()
        assert re.search(r"coder .*waits for its quota, 60 min", clorad("status").out)
        coder = clorad("status", "--json").json["agents"]["coder"]
        assert coder["waits_for"] == "its quota, 60 min: 1,000 of 900 tokens in the last hour"
        assert coder["tokens"]["quota_wait_s"] == pytest.approx(3600.0, abs=60.0)

    def test_a_champion_that_was_trained_for_another_template_is_named(
        self, clorad: Clorad, story: Path
    ) -> None:
        database = Database(f"sqlite:///{story}")
        with database.read() as connection:
            [billing] = [own for own in serving_champions(connection) if own.version.agent == "billing"]
        for template in ("a1", "b2"):
            assert "chat template" not in clorad("status").out
            under = Circumstances(suite=48, template=template)
            keep_champion(database, billing.version, Evidence(under=under, judgement=JUDGEMENT))
        database.close()
        shown = " ".join(clorad("status").out.split())
        assert (
            f"! billing: {billing.version.name} serves, but it was trained for another chat template" in shown
        )
        assert "--chat-template" in shown
        agents = clorad("status", "--json").json["agents"]
        assert agents["billing"]["judged_again"] == {"looks": 2, "other_template": True}
        assert agents["sql"]["judged_again"] is None
        why = clorad("why", f"billing@v{billing.version.number}").out
        assert why.count("kept by the gate") == 2

    def test_programs_get_the_same(self, clorad: Clorad) -> None:
        document = clorad("status", "--json").json
        billing = document["agents"]["billing"]
        assert billing["version"].startswith("v1-")
        assert billing["backlog"] == {
            "untaught": 2,
            "oldest_age_s": pytest.approx(0, abs=3600),
            "gate_new": 0,
            "refusals": 1,
        }
        assert billing["waits_for"] == "its turn to be over"
        assert billing["tokens"] == {"last_hour": 200, "per_hour_max": None, "quota_wait_s": 0.0}
        assert billing["turn"]["version"] == 3
        assert billing["turn"]["holder"] == "learner-1"
        assert billing["last_verdict"]["verdict"] == "refuse"
        assert billing["last_verdict"]["judgement"]["wins"] == 8
        assert document["agents"]["sql"]["candidate"].startswith("v1-")
        assert document["agents"]["coder"]["last_verdict"] is None
        assert document["events"]["total"] == 7
        assert document["dead_letters"] == {"invalid_json": 2, "oversized": 1}
        assert document["outbox"]["waiting"] == 5
        assert [replica["in_rotation"] for replica in document["replicas"]] == [True, False]
        assert document["partitions"][0]["next_offset"] == 10
        assert document["partitions"][0]["lag"] is None

    def test_roles_on_this_machine_are_asked_how_they_are(self, clorad: Clorad) -> None:
        health = Health()
        health.ready("kafka", False, "no broker")
        with served(health, 0) as port:
            env = {"CLORAD_TELEMETRY__HEALTH_PORT": str(port)}
            output = clorad("status", env=env).out
            roles = clorad("status", "--json", env=env).json["roles"]
        assert "! intake: kafka no broker" in output
        assert roles["intake"]["checks"]["kafka"]["why"] == "no broker"
        assert list(roles) == ["intake", "learner", "fleet", "gateway", "dashboard"]
        assert clorad("status", "--json", env={"CLORAD_TELEMETRY__HEALTH_PORT": "0"}).json["roles"] == {}

    def test_an_agent_whose_gate_is_off_says_who_is_answered_by_its_versions(
        self, clorad: Clorad, story: Path
    ) -> None:
        database = Database(f"sqlite:///{story}")
        declare(database, Agent(name="coder", base_hash="b" * 64, gate=GateMode.OFF))
        assert "! coder: its gate is off, nobody judges its versions" in clorad("status").out
        keep(database, build_event("c1", agent="coder"))
        made = build_version(database, "coder")
        decision = build_decision(made, Verdict.PROMOTE, by=BY_NOBODY)
        promotion.promote(database, made, decision)
        database.close()
        shown = " ".join(clorad("status").out.split())
        assert f"! coder: nobody judged {made.name}; it answers requests whose key has the right" in shown
        coder = clorad("status", "--json").json["agents"]["coder"]
        assert (coder["version"], coder["experiment"]) == ("v0", made.name)


class TestRoom:
    def test_what_waits_is_shown_against_its_marks(self, clorad: Clorad) -> None:
        env = {"CLORAD_LEDGER__BACKLOG_ROWS_MAX": "7"}
        rows = clorad("status", "--json", env=env).json["room"]["rows"]
        assert (rows["low"], rows["high"], rows["used"] >= rows["low"]) == (5, 7, True)
        assert re.search(
            r"! (no|little) room: \d+ events wait to be learned, 5 messages", clorad("status").out
        )
