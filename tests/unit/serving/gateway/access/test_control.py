"""Keys, rights, limits and origins on a real gateway, with the clients that people use."""

import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from sqlalchemy import update

from feedback.reading import Reader
from feedback.redaction import Redactor
from ledger.access.keys import create_key, revoke_keys, rotate_key
from ledger.access.rights import Grant, Right
from ledger.database import Database
from ledger.events import Event, Trust
from ledger.schema import access_keys
from ledger.topic_names import FEEDBACK_TOPIC
from tests.meters import metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import (
    ASK,
    IDENTITY,
    RunningGateway,
    build_access,
    build_gateway,
    wait_until,
)
from tests.unit.serving.serving_environment import ServingEnvironment

CHAT = {"model": "billing", "messages": ASK}
CORRECTION = {
    "type": "clorad.correction.v1",
    "data": {"agent": "billing", "author": "victim", "messages": ASK, "rejected": "a", "corrected": "b"},
}


@pytest.fixture
def guarded(two_replicas: ServingEnvironment) -> Iterator[RunningGateway]:
    """A gateway that asks for keys."""
    with build_gateway(two_replicas.database, access=build_access(access="keys")) as running:
        wait_until(lambda: running.get("/readyz").status_code == 200)
        yield running


def key_for(database: Database, name: str = "ann", **grant: Any) -> str:
    _, text = create_key(database, Grant(name=name, **grant), by="ops", another=True)
    return text.text


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def status(gateway: RunningGateway, key: str, body: Any = CHAT, path: str = "/v1/chat/completions") -> int:
    return gateway.send(path, body, **bearer(key)).status_code


def test_openais_client_talks_with_its_key_and_reads_why_it_may_not(guarded: RunningGateway) -> None:
    key = key_for(guarded.database)
    client = guarded.client(api_key=key)
    wait_until(lambda: status(guarded, key) == 200)
    assert client.chat.completions.create(model="billing", messages=ASK).choices
    assert [model.id for model in client.models.list()] == ["billing", "sql"]
    with pytest.raises(openai.AuthenticationError) as refused:
        guarded.client(api_key="none").chat.completions.create(model="billing", messages=ASK)
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/billing"),
        ("GET", "/routing"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/feedback"),
    ],
)
def test_without_a_key_nothing_but_health_answers(guarded: RunningGateway, method: str, path: str) -> None:
    answer = guarded.get(path) if method == "GET" else guarded.send(path, CHAT)
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert {guarded.get(path).status_code for path in ("/healthz", "/readyz")} == {200}


def test_a_new_key_opens_and_a_revoked_one_closes_within_seconds(guarded: RunningGateway) -> None:
    key = key_for(guarded.database)
    wait_until(lambda: status(guarded, key) == 200, wait_s_max=3.0)
    revoke_keys(guarded.database, name="ann")
    wait_until(lambda: status(guarded, key) == 401, wait_s_max=3.0)


def test_both_keys_work_while_one_replaces_the_other(guarded: RunningGateway) -> None:
    made, old = create_key(guarded.database, Grant(name="ann"), by="ops")
    _, new = rotate_key(guarded.database, made.id, by="ops", overlap_s=60.0)
    wait_until(lambda: status(guarded, new.text) == 200)
    assert status(guarded, old.text) == 200
    with guarded.database.write() as connection:
        connection.execute(update(access_keys).where(access_keys.c.id == made.id).values(expires_s=1.0))
    revoke_keys(guarded.database, key_id=create_key(guarded.database, Grant(name="bob"), by="ops")[0].id)
    wait_until(lambda: status(guarded, old.text) == 401)
    assert status(guarded, new.text) == 200


def test_without_the_ledger_the_last_keys_count(guarded: RunningGateway) -> None:
    key = key_for(guarded.database)
    wait_until(lambda: status(guarded, key) == 200)
    with guarded.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE facts RENAME TO away")
    try:
        assert status(guarded, key) == 200
        assert status(guarded, "clorad_0123456789ab_" + "0" * 64) == 401
    finally:
        with guarded.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO facts")


def test_a_key_opens_its_agents_and_shows_no_others(guarded: RunningGateway) -> None:
    key = key_for(guarded.database, agents=frozenset({"sql"}), rights=frozenset(Right))
    wait_until(lambda: status(guarded, key, {**CHAT, "model": "sql"}) == 200)
    for body in (CHAT, {**CHAT, "model": "nobody"}):
        refused = guarded.send("/v1/chat/completions", body, **bearer(key))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert status(guarded, key, CORRECTION, "/v1/feedback") == 403
    shown = guarded.get("/v1/models", **bearer(key)).json()["data"]
    assert [model["id"] for model in shown] == ["sql"]
    assert guarded.get("/v1/models/billing", **bearer(key)).status_code == 404
    assert list(guarded.get("/routing", **bearer(key)).json()["agents"]) == ["sql"]


@pytest.mark.parametrize(
    ("right", "opened"),
    [
        (Right.TALK, {"/v1/chat/completions"}),
        (Right.FEEDBACK, {"/v1/feedback"}),
        (Right.READ, {"/routing"}),
        (Right.ACT, set[str]()),
        (Right.JUDGE, set[str]()),
    ],
)
def test_a_right_opens_its_paths_and_no_others(
    guarded: RunningGateway, right: Right, opened: set[str]
) -> None:
    key = key_for(guarded.database, rights=frozenset({right}))
    wait_until(lambda: status(guarded, key) != 401)
    statuses = {
        "/v1/chat/completions": status(guarded, key),
        "/v1/feedback": status(guarded, key, CORRECTION, "/v1/feedback"),
        "/routing": guarded.get("/routing", **bearer(key)).status_code,
    }
    assert {path for path, code in statuses.items() if code in (200, 202)} == opened
    assert {statuses[path] for path in statuses.keys() - opened} == {403}


def test_feedback_is_its_senders_whatever_it_says(guarded: RunningGateway) -> None:
    key = key_for(guarded.database)
    wait_until(lambda: status(guarded, key) == 200)
    answer = guarded.send("/v1/feedback", CORRECTION, **bearer(key))
    assert answer.status_code == 202
    assert answer.json()["source"] == "clorad/gateway/ann"
    [data] = guarded.sends.data(FEEDBACK_TOPIC)
    assert data["author"] == "ann"
    event = {**CORRECTION, "specversion": "1.0", "id": "1", "source": "ide-plugin", "cloradrights": "act"}
    answer = guarded.send("/v1/feedback", event, **bearer(key), content_type="application/cloudevents+json")
    assert answer.json() | {"offset": 0} == {
        "id": "1",
        "source": "clorad/gateway/ann/ide-plugin",
        "topic": FEEDBACK_TOPIC,
        "partition": 0,
        "offset": 0,
    }


def read_event(gateway: RunningGateway) -> Event:
    """The last event as intake reads it; captures of earlier answers may follow it."""
    reader = Reader(IDENTITY, Redactor(IDENTITY.fingerprint))
    for record in reversed(gateway.sends.records):
        arrival = reader.read(
            offset=0, key=record.key, value=record.value, headers=record.headers, received_s=1e10
        )
        if isinstance(arrival.content, Event):
            return arrival.content
    raise AssertionError("no event was sent")


def test_intake_believes_the_keys_author_and_rights(guarded: RunningGateway) -> None:
    rights = frozenset({Right.FEEDBACK, Right.JUDGE})
    key, text = create_key(guarded.database, Grant(name="verifier", rights=rights), by="ops")
    wait_until(lambda: status(guarded, text.text) == 403)
    claims = {**CORRECTION, "cloradkey": "another", "cloradrights": "act", "cloradsigner": "gateway"}
    event = {**claims, "specversion": "1.0", "id": "1", "source": "ci"}
    assert guarded.send("/v1/feedback", event, **bearer(text.text)).status_code == 202
    stored = read_event(guarded)
    assert (stored.trust, stored.author, stored.source) == (
        Trust.SIGNED,
        "verifier",
        "clorad/gateway/verifier/ci",
    )
    assert (stored.key_id, stored.rights) == (key.id, frozenset({"feedback", "judge"}))


def test_a_proxys_people_are_signed_for_without_the_proxys_own_rights(
    two_replicas: ServingEnvironment,
) -> None:
    settings = {"access": "keys", "author_header": "x-user", "trusted_proxies": ["127.0.0.1"]}
    with build_gateway(two_replicas.database, access=build_access(**settings)) as gateway:
        key = key_for(two_replicas.database, "portal", rights=frozenset(Right))
        wait_until(lambda: status(gateway, key) == 200)
        sent = gateway.send("/v1/feedback", CORRECTION, x_user="bob", **bearer(key))
        assert sent.status_code == 202
        stored = read_event(gateway)
    assert (stored.trust, stored.author, stored.source) == (Trust.SIGNED, "bob", "clorad/gateway/bob")
    assert stored.rights.isdisjoint({"act", "judge"})


def test_what_an_unknown_client_sends_is_not_signed(gateway: RunningGateway) -> None:
    claims = {
        **CORRECTION,
        "specversion": "1.0",
        "id": "1",
        "source": "ide",
        "cloradkey": "x",
        "cloradrights": "act",
    }
    assert gateway.send("/v1/feedback", claims).status_code == 202
    stored = read_event(gateway)
    assert (stored.trust, stored.author, stored.key_id, stored.rights) == (
        Trust.UNSIGNED,
        "victim",
        None,
        frozenset(),
    )


def test_in_open_mode_feedback_names_its_author_and_cannot_name_a_keys(gateway: RunningGateway) -> None:
    answer = gateway.send("/v1/feedback", CORRECTION)
    assert answer.status_code == 202
    assert [data["author"] for data in gateway.sends.data(FEEDBACK_TOPIC)] == ["victim"]
    event = {**CORRECTION, "specversion": "1.0", "id": "1", "source": "clorad/gateway/ann"}
    assert gateway.send("/v1/feedback", event).status_code == 403
    record = gateway.sends.records[-1]
    assert not [name for name, _ in record.headers if name.startswith("ce_clorad")]


def test_so_many_requests_at_once_as_the_key_may_have(
    guarded: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.answer_delay_s = 0.5
    key = key_for(guarded.database, concurrency_max=1)
    wait_until(lambda: guarded.get("/v1/models", **bearer(key)).status_code == 200)
    first = threading.Thread(target=status, args=(guarded, key))
    first.start()
    wait_until(lambda: sum(fake.in_flight for fake in two_replicas.replicas) == 1)
    refused = guarded.send("/v1/chat/completions", CHAT, **bearer(key))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    first.join()
    assert status(guarded, key) == 200


def test_a_place_is_free_again_after_every_kind_of_end(
    guarded: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    key = key_for(guarded.database, concurrency_max=1)
    wait_until(lambda: guarded.get("/v1/models", **bearer(key)).status_code == 200)
    for body in (
        CHAT,
        {**CHAT, "stream": True},
        {**CHAT, "model": "nobody"},
        [],
        b"{",
        {**CHAT, "stream": 7},
    ):
        assert status(guarded, key, body) != 429
    for fake in two_replicas.replicas:
        fake.faults.failures_left = 3
    assert status(guarded, key) == 502
    assert status(guarded, key, path="/v1/nothing") == 404
    assert status(guarded, key) != 429


def test_so_many_requests_a_minute_as_the_key_may_send(guarded: RunningGateway) -> None:
    key = key_for(guarded.database, requests_per_minute_max=3)
    wait_until(lambda: status(guarded, key) == 200)
    codes = [status(guarded, key) for _ in range(3)]
    assert codes == [200, 200, 429]
    with pytest.raises(openai.RateLimitError):
        guarded.client(api_key=key).models.list()


def test_refusals_are_counted_by_reason_and_no_key_is_logged(
    guarded: RunningGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = "clorad_0123456789ab_" + "5" * 64
    before = metric_values("clorad.gateway.refused")
    assert status(guarded, wrong) == 401
    assert guarded.send("/v1/feedback", CORRECTION, content_type="text/plain").status_code == 415
    grown = metric_increases(before, "clorad.gateway.refused")
    assert grown == {(("reason", "unknown_key"),): 1, (("reason", "content_type"),): 1}
    assert "5" * 64 not in "".join(capsys.readouterr())


class TestWebPages:
    """The finding: any page in a developer's browser could teach through a gateway on loopback."""

    def test_a_plain_text_post_from_anywhere_is_not_read(self, gateway: RunningGateway) -> None:
        headers = {"origin": "http://evil.example", "content_type": "text/plain"}
        assert gateway.send("/v1/feedback", CORRECTION, **headers).status_code == 403
        assert gateway.send("/v1/feedback", CORRECTION, content_type="text/plain").status_code == 415
        assert gateway.send("/v1/chat/completions", CHAT, content_type="text/plain").status_code == 415
        assert gateway.send("/v1/feedback", CORRECTION, origin="http://evil.example").status_code == 403
        assert gateway.sends.records == []

    def test_another_name_of_this_machine_is_refused(self, gateway: RunningGateway) -> None:
        assert gateway.send("/v1/feedback", CORRECTION, host="rebound.example").status_code == 403
        assert gateway.get("/v1/models", host="rebound.example").status_code == 403
        assert gateway.get("/healthz", host="rebound.example").status_code == 200

    def test_an_allowed_page_is_told_so_before_and_after(self, two_replicas: ServingEnvironment) -> None:
        page = "https://chat.example"
        with build_gateway(two_replicas.database, access=build_access(origins=frozenset({page}))) as gateway:
            wait_until(lambda: gateway.get("/readyz").status_code == 200)
            answer = gateway.send("/v1/chat/completions", CHAT, origin=page)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == page
            assert "x-clorad-interaction" in answer.headers["access-control-expose-headers"].lower()
            refused = gateway.send("/v1/chat/completions", CHAT, origin="http://evil.example")
            assert refused.status_code == 403
            assert "access-control-allow-origin" not in refused.headers
