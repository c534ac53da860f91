"""POST /v1/feedback: accepted once Kafka has the event, under the client's id, and without secrets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedback.redaction_process import WAIT_S_MAX, ProcessRedactor
from ledger.database import Database
from tests.unit.serving.gateway.gateway_builder import LOOPBACK, RunningGateway, build_gateway, wait_until
from tests.unit.serving.serving_environment import build_environment

DATA = {
    "agent": "billing",
    "author": "ann",
    "messages": [{"role": "user", "content": "close ticket 7"}],
    "rejected": "no",
    "corrected": "yes",
}
EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "ide",
    "type": "clorad.correction.v1",
    "time": "2026-11-22T07:00:00Z",
    "data": DATA,
}


@pytest.fixture(scope="module")
def redactor() -> Iterator[ProcessRedactor]:
    redactor = ProcessRedactor(lambda raw: f"{len(raw):06x}")
    yield redactor
    redactor.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, redactor: ProcessRedactor) -> Iterator[RunningGateway]:
    with build_environment(tmp_path_factory.mktemp("feedback")) as environment:
        environment.agent("billing")
        with build_gateway(environment.database, redactor=redactor) as running:
            wait_until(lambda: running.document("/routing").get("agents"))
            yield running


@pytest.fixture(autouse=True)
def _post(gateway: RunningGateway) -> None:
    gateway.sends.records.clear()
    gateway.sends.fault = None


def test_a_structured_event_is_accepted_under_its_own_id(gateway: RunningGateway) -> None:
    answer = gateway.send("/v1/feedback", EVENT, content_type="application/cloudevents+json")
    assert answer.status_code == 202
    expected = {"id": "e-1", "source": "ide", "topic": "clorad.feedback", "partition": 0, "offset": 1}
    assert answer.json() == expected
    [record] = gateway.sends.records
    headers = dict(record.headers)
    assert (headers["ce_id"], headers["ce_source"]) == (b"e-1", b"ide")
    assert headers["ce_type"] == b"clorad.correction.v1"
    assert headers["ce_time"].startswith(b"2026-11-22T07:00:00")
    assert json.loads(record.value) == DATA


def test_a_binary_event_is_accepted(gateway: RunningGateway) -> None:
    answer = gateway.send(
        "/v1/feedback",
        DATA,
        ce_specversion="1.0",
        ce_id="e-2",
        ce_source="ide",
        ce_type="clorad.correction.v1",
        content_type="application/json",
    )
    assert answer.status_code == 202
    assert dict(gateway.sends.records[0].headers)["ce_id"] == b"e-2"


def test_a_bare_event_without_an_id_gets_one(gateway: RunningGateway) -> None:
    answer = gateway.send("/v1/feedback", {"type": "clorad.correction.v1", "data": DATA})
    assert answer.status_code == 202
    assert len(answer.json()["id"]) == 36


def test_fields_of_a_bare_event_that_are_null_are_as_if_they_were_not_there(gateway: RunningGateway) -> None:
    unset = dict.fromkeys(("id", "source", "time", "specversion", "subject", "traceparent"))
    answer = gateway.send("/v1/feedback", {**unset, "type": "clorad.correction.v1", "data": DATA})
    assert answer.status_code == 202
    assert len(answer.json()["id"]) == 36


def test_an_attribute_with_two_values_is_refused(gateway: RunningGateway) -> None:
    headers = [("ce-specversion", "1.0"), ("ce-source", "ide"), ("ce-type", "clorad.correction.v1")]
    headers += [("ce-id", "e-1"), ("ce-id", "e-2"), ("content-type", "application/json")]
    answer = httpx.post(gateway.url + "/v1/feedback", json=DATA, headers=headers, **LOOPBACK)
    assert answer.status_code == 400
    assert "ce_id: given twice" in answer.json()["error"]["message"]
    assert gateway.sends.records == []


def test_a_bare_event_keeps_its_id(gateway: RunningGateway) -> None:
    answer = gateway.send("/v1/feedback", {"type": "clorad.correction.v1", "id": "mine", "data": DATA})
    assert answer.json()["id"] == "mine"


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (b"{not json", 400, "invalid_json"),
        (b"\xff", 400, "invalid_utf8"),
        (b"", 400, "empty"),
        ({**EVENT, "type": "clorad.praise.v1"}, 400, "type"),
        ({**EVENT, "type": "clorad.interaction.v1"}, 400, "type"),
        ({**EVENT, "id": ""}, 400, "id"),
        ({**EVENT, "data": {**DATA, "corrected": None}}, 400, "corrected"),
        ({**EVENT, "data": [1]}, 400, "data"),
        ({**EVENT, "data": {**DATA, "agent": "nobody"}}, 404, "agent"),
        ({**EVENT, "data": {**DATA, "rejected": "x" * 300_000}}, 413, "bytes"),
    ],
)
def test_an_unusable_event_is_refused_and_not_quoted(
    gateway: RunningGateway, body: Any, status: int, named: str
) -> None:
    answer = gateway.send("/v1/feedback", body)
    assert answer.status_code == status
    assert named.lower() in answer.json()["error"]["message"].lower()
    assert "close ticket" not in answer.text
    assert gateway.sends.records == []


@pytest.mark.parametrize("fault", ["full", "unacknowledged", "silent"])
def test_an_event_that_kafka_has_not_confirmed_is_a_503(gateway: RunningGateway, fault: str) -> None:
    gateway.sends.fault = fault
    answer = gateway.send("/v1/feedback", EVENT)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_secrets_are_removed_before_kafka_gets_the_event(gateway: RunningGateway) -> None:
    secret = {**DATA, "corrected": "use card 4111 1111 1111 1111"}
    assert gateway.send("/v1/feedback", {**EVENT, "data": secret}).status_code == 202
    assert b"4111" not in (gateway.sends.records[0].value or b"")


def test_a_large_event_that_is_not_redacted_in_time_may_be_sent_again(
    gateway: RunningGateway, redactor: ProcessRedactor
) -> None:
    event = {**EVENT, "data": {**DATA, "corrected": "ask jane@example.com " * 2000}}
    redactor.wait_s_max = 0.0
    refused = gateway.send("/v1/feedback", event)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert gateway.sends.records == []
    redactor.wait_s_max = WAIT_S_MAX
    assert gateway.send("/v1/feedback", event).status_code == 202
    assert json.loads(gateway.sends.records[0].value or b"")["corrected"] == "ask [email] " * 2000


def test_one_conversation_stays_in_order(gateway: RunningGateway) -> None:
    for number in range(3):
        event = {**EVENT, "id": f"c-{number}", "data": {**DATA, "conversation": "talk"}}
        gateway.send("/v1/feedback", event)
    assert [record.key for record in gateway.sends.records] == [b"talk"] * 3


def test_a_gateway_without_a_routing_table_accepts_no_feedback(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'later' / 'clorad.db'}")
    with build_gateway(database) as early:
        assert early.send("/v1/feedback", EVENT).status_code == 503
    database.close()
