"""`clorad bridge git`, as a developers' team runs it."""

import json
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.roles.git_scans import send
from feedback.bridges.git.git_events import GitEvent
from feedback.sending.kafka_sender import KafkaSender
from feedback.signing import Algorithm, SigningKey
from ledger.topic_names import FEEDBACK_TOPIC
from tests.fakes.kafka import FakeKafka
from tests.unit.daemon.conftest import Clorad
from tests.unit.feedback.bridges.git import git_builder
from tests.unit.feedback.bridges.git.git_builder import AGENT, ANN, BOB, BuiltRepository
from tests.unit.ledger.event_builder import INTERACTIONS, build_interaction, keep
from tests.unit.ledger.ledger_builder import build_ledger

CODE = "def total(a, b):\n    return a+b+1\n"
SETTINGS = '[git]\nauthors = {"Ann@Example.org" = "ann"}\nbots = ["*@bots.example"]\n'


@pytest.fixture
def merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuiltRepository:
    """A repository with a captured and an unknown interaction, both merged by bob two days ago."""
    monkeypatch.setattr(git_builder, "START_S", int(time.time()) - 5 * git_builder.DAY_S)
    built = BuiltRepository(tmp_path / "clone")
    built.branch("topic")
    built.commit({"total.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    built.commit({"other.py": "x = 1\n"}, by=AGENT, day=1, interactions=("unknown",))
    built.commit({"total.py": CODE.replace("+1", "")}, by=ANN, day=2)
    built.merge("topic", by=BOB, day=3)
    with closing(build_ledger(tmp_path / "clorad.db", "billing")) as ledger:
        capture = build_interaction("i1", completion=f"```python\n{CODE}```")
        keep(ledger, capture, partition=INTERACTIONS)
    (tmp_path / "clorad.toml").write_text(SETTINGS)
    return built


def test_a_dry_run_shows_what_would_be_sent(clorad: Clorad, merged: BuiltRepository) -> None:
    found = {
        row["interaction"]: row
        for row in clorad("bridge", "git", "--repo", "clone", "--dry-run", "--json").json
    }
    [event] = found["i1"]["events"]
    assert event | {"uid": ""} == {
        "uid": "",
        "kind": "correction",
        "author": "ann",
        "signed": True,
        "fate": "not sent",
    }
    assert event["uid"].startswith("//git/")
    assert event["uid"].endswith("#i1.1.correction")
    assert found["unknown"]["events"] == []
    assert found["unknown"]["reason"] == "the interaction was not captured; --agent says whose it is"


def test_an_interaction_that_was_not_captured_gives_an_outcome_of_the_named_agent(
    clorad: Clorad, merged: BuiltRepository
) -> None:
    result = clorad("bridge", "git", "--repo", "clone", "--agent", "billing", "--dry-run")
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert ["unknown", "outcome", BOB] in [[line[0], *line[2:4]] for line in lines if len(line) > 3]
    assert "2 interactions, 2 events" in result.out


def test_another_agents_interactions_are_left_out(clorad: Clorad, merged: BuiltRepository) -> None:
    found = clorad("bridge", "git", "--repo", "clone", "--agent", "coder", "--dry-run", "--json").json
    assert [row["interaction"] for row in found] == ["unknown"]


@pytest.mark.parametrize("words", [("--repo", "nowhere"), ("--repo", "clone", "--branch", "--output=x")])
def test_what_is_no_repository_or_branch_is_refused(
    clorad: Clorad, merged: BuiltRepository, words: tuple[str, ...]
) -> None:
    result = clorad("bridge", "git", *words, "--dry-run")
    assert result.code == 2
    assert result.err.count("\n") == 1


def test_only_events_of_named_authors_are_signed_and_what_cannot_be_sent_is_said() -> None:
    kafka = FakeKafka()
    kafka.create_named(FEEDBACK_TOPIC, partitions=1)
    events = [build_event("e1", is_signed=True), build_event("e2"), build_event("e3", value=7.0)]
    key = SigningKey(id="git", algorithm=Algorithm.HMAC_SHA256, secret=b"s" * 32)
    with closing(KafkaSender(kafka, key=key)) as signing, closing(KafkaSender(kafka, key=None)) as plain:
        fates = send(events, signing=signing, plain=plain, why_not_believed=lambda _: None)
    assert fates == {"e1": "sent", "e2": "sent", "e3": "not sent: value: less_than_equal (1.0)"}
    headers = [dict(record.headers) for record in kafka.sent_records(FEEDBACK_TOPIC)]
    assert [header.get("ce_cloradsigner") for header in headers] == [b"git", None]
    assert headers[0]["ce_time"] == b"2026-01-02T00:00:00+00:00"


def test_nothing_is_signed_that_intake_would_refuse() -> None:
    events = [build_event("e1", is_signed=True), build_event("e2")]
    kafka = FakeKafka()
    kafka.create_named(FEEDBACK_TOPIC, partitions=1)
    with closing(KafkaSender(kafka, key=None)) as plain:
        fates = send(events, signing=plain, plain=plain, why_not_believed=lambda source: f"needs {source}")
    assert fates == {"e1": "not sent: needs //git/r", "e2": "sent"}


def build_event(id: str, *, is_signed: bool = False, value: float = 1.0) -> GitEvent:
    data = {"agent": "billing", "author": "ann", "interaction": "i1", "value": value}
    at = datetime(2026, 1, 2, tzinfo=UTC)
    return GitEvent(kind="outcome", id=id, source="//git/r", at=at, data=data, is_signed=is_signed)


def test_a_payload_of_a_webhook_names_the_branch(clorad: Clorad, merged: BuiltRepository) -> None:
    words = ("bridge", "git", "--repo", "clone", "--dry-run", "--event", "event.json")
    pushed = {"ref": "refs/heads/main", "after": "a" * 40, "repository": {"full_name": "team/shop"}}
    Path("event.json").write_text(json.dumps(pushed))
    assert "2 interactions, 1 event" in clorad(*words).out
    Path("event.json").write_text(json.dumps(pushed | {"ref": "refs/heads/gone"}))
    assert clorad(*words).code == 2
    Path("event.json").write_text("{}")
    assert "no new commits" in clorad(*words).out
    Path("event.json").write_text("{")
    assert clorad(*words).err == "clorad: --event: not JSON\n"


def test_a_mirror_is_fetched_first(clorad: Clorad, merged: BuiltRepository) -> None:
    merged.git("clone", "-q", "--mirror", str(merged.path), "mirror.git")
    words = ("bridge", "git", "--repo", str(merged.path / "mirror.git"), "--dry-run", "--fetch")
    assert "2 interactions, 1 event" in clorad(*words).out
    merged.commit({"total.py": "def total(a, b):\n    return a - b\n"}, by=BOB, day=4)
    assert "2 interactions, 2 events" in clorad(*words).out
    merged.git("-C", "mirror.git", "remote", "set-url", "origin", "/nowhere")
    assert "git fetch: ended with" in clorad(*words).err
