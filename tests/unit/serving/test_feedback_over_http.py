"""POST /v1/feedback: taken when Kafka has it, under the client's own id, and never with a secret in it."""

import json
from collections.abc import Iterator

import pytest

from ledger.database import Database
from tests.unit.serving.front import Front, front, until
from tests.unit.serving.scene import Scene
from tests.unit.serving.scene import scene as a_scene

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
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with a_scene(tmp_path_factory.mktemp("feedback")) as made:
        made.agent("billing")
        with front(made.database) as running:
            until(lambda: running.get("/routing").json()["agents"])
            yield running


@pytest.fixture(autouse=True)
def _post(gateway: Front) -> None:
    gateway.post.records.clear()
    gateway.post.trouble = None


def test_a_structured_event_is_taken_under_its_own_id(gateway):
    answer = gateway.send("/v1/feedback", EVENT, content_type="application/cloudevents+json")
    assert answer.status_code == 202
    expected = {"id": "e-1", "source": "ide", "topic": "clorad.feedback", "partition": 0, "offset": 1}
    assert answer.json() == expected
    [record] = gateway.post.records
    headers = dict(record.headers)
    assert (headers["ce_id"], headers["ce_source"]) == (b"e-1", b"ide")
    assert headers["ce_type"] == b"clorad.correction.v1"
    assert headers["ce_time"].startswith(b"2026-11-22T07:00:00")
    assert json.loads(record.value) == DATA


def test_a_binary_event_is_taken_too(gateway):
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
    assert dict(gateway.post.records[0].headers)["ce_id"] == b"e-2"


def test_a_bare_event_gets_an_id_of_ours(gateway):
    answer = gateway.send("/v1/feedback", {"type": "clorad.correction.v1", "data": DATA})
    assert answer.status_code == 202
    assert len(answer.json()["id"]) == 36


def test_a_bare_event_may_bring_its_id(gateway):
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
def test_what_cannot_be_used_is_refused_and_not_quoted(gateway, body, status, named):
    answer = gateway.send("/v1/feedback", body)
    assert answer.status_code == status
    assert named.lower() in answer.json()["error"]["message"].lower()
    assert "close ticket" not in answer.text
    assert gateway.post.records == []


@pytest.mark.parametrize("trouble", ["full", "unacknowledged", "silent"])
def test_nothing_is_promised_that_kafka_has_not_confirmed(gateway, trouble):
    gateway.post.trouble = trouble
    answer = gateway.send("/v1/feedback", EVENT)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_secrets_are_gone_before_kafka_sees_the_event(gateway):
    secret = {**DATA, "corrected": "use card 4111 1111 1111 1111"}
    assert gateway.send("/v1/feedback", {**EVENT, "data": secret}).status_code == 202
    assert b"4111" not in (gateway.post.records[0].value or b"")


def test_one_conversation_stays_in_order(gateway):
    for number in range(3):
        event = {**EVENT, "id": f"c-{number}", "data": {**DATA, "conversation": "talk"}}
        gateway.send("/v1/feedback", event)
    assert [record.key for record in gateway.post.records] == [b"talk"] * 3


def test_a_gateway_that_knows_no_agents_yet_takes_nothing(scene: Scene, tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'later' / 'clorad.db'}")
    with front(database) as early:
        assert early.send("/v1/feedback", EVENT).status_code == 503
    database.close()
