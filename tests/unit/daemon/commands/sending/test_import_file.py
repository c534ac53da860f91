"""`clorad import`: every line is counted, and imported again nothing counts twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.commands import broker
from daemon.commands.sending import import_file
from tests.fakes.kafka import FakeKafka
from tests.unit.daemon.conftest import Clorad
from tests.unit.feedback.intake_builder import build_intake, build_ledger, run_intake_until

ASK = {"role": "user", "content": "cancel 1042"}


def conversation(*answers: str) -> dict[str, Any]:
    messages = [ASK]
    for answer in answers:
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "and then?"}]
    return {"messages": messages}


PREFERENCE = {
    "input": {"messages": [ASK]},
    "preferred_output": [{"role": "assistant", "content": "cancel"}],
    "non_preferred_output": [{"role": "assistant", "content": "refund"}],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = [conversation("a"), conversation("b", "c"), conversation("a"), PREFERENCE, {"text": "x"}, [1]]
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n{broken\n")
    return path


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    kafka = FakeKafka()
    monkeypatch.setattr(broker, "cluster", lambda _: kafka)
    return kafka


def test_a_dry_run_counts_and_sends_nothing(clorad: Clorad, file: Path, kafka: FakeKafka) -> None:
    topics = kafka.create_all(partitions=1)
    result = clorad("import", str(file), "--agent", "sql", "--author", "ann", "--dry-run", "--json")
    assert result.code == 1, "some lines cannot be used"
    assert result.json == {
        "dry_run": True,
        "lines": 7,
        "events": {"clorad.correction.v1": 4},
        "sent": 0,
        "repeated": 1,
        "unusable": [
            {
                "reason": "needs messages, or input with preferred_output and non_preferred_output",
                "lines": 1,
                "first_line": 5,
            },
            {"reason": "no JSON object", "lines": 1, "first_line": 6},
            {"reason": "invalid_json", "lines": 1, "first_line": 7},
        ],
    }
    assert kafka.sent_records(topics.feedback) == []


def test_a_second_import_is_duplicates(clorad: Clorad, file: Path, kafka: FakeKafka, tmp_path: Path) -> None:
    topics = kafka.create_all(partitions=1)
    ledger = build_ledger(tmp_path)
    for _ in range(2):
        result = clorad("import", str(file), "--agent", "sql", "--author", "ann", "--json")
        assert (result.json["sent"], result.json["repeated"]) == (4, 1)
    assert len(kafka.sent_records(topics.feedback)) == 8
    run_intake_until(build_intake(kafka, ledger, topics), lambda: ledger.records_kept(topics.feedback) == 8)
    assert (len(ledger.ids()), ledger.dead_letter_reasons()) == (4, [])
    ledger.database.close()


def test_people_read_what_became_of_each_line(clorad: Clorad, file: Path, kafka: FakeKafka) -> None:
    kafka.create_all(partitions=1)
    result = clorad("import", str(file), "--agent", "sql", "--approved")
    assert "3 events clorad.intervention.v1, 1 event clorad.correction.v1" in result.out
    assert "gate.authors_min is 2" in result.out
    assert "invalid_json" in result.out


def test_a_file_whose_lines_are_all_used_ends_with_zero(
    clorad: Clorad, kafka: FakeKafka, tmp_path: Path
) -> None:
    kafka.create_all(partitions=1)
    path = tmp_path / "good.jsonl"
    path.write_text(json.dumps(PREFERENCE))
    assert clorad("import", str(path), "--agent", "sql").code == 0
    missing = clorad("import", "missing.jsonl", "--agent", "sql")
    assert (missing.code, "missing.jsonl: No such file" in missing.err) == (2, True)


def test_while_kafka_is_away_nothing_is_lost(
    clorad: Clorad, file: Path, kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (broker, import_file):
        monkeypatch.setattr(module, "ACK_S_MAX", 0.5)
    topics = kafka.create_all(partitions=1)
    kafka.away = True
    result = clorad("import", str(file), "--agent", "sql", "--author", "ann")
    assert (result.code, "import the file again" in result.err) == (75, True)
    kafka.away = False
    assert clorad("import", str(file), "--agent", "sql", "--author", "ann", "--json").json["sent"] == 4
    assert len(kafka.sent_records(topics.feedback)) == 4


def test_more_events_than_may_be_on_their_way_are_sent(
    clorad: Clorad, kafka: FakeKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_file, "IN_FLIGHT_MAX", 3)
    topics = kafka.create_all(partitions=1)
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(json.dumps(conversation(str(number))) for number in range(20)))
    assert clorad("import", str(path), "--agent", "sql", "--json").json["sent"] == 20
    assert len(kafka.sent_records(topics.feedback)) == 20
