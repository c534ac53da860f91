"""The gateway as its users see it: the official client, over HTTP, in front of fake replicas."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from ledger.database import Database
from ledger.errors import LedgerDamaged
from ledger.learning import agents
from ledger.versions.desired import Purpose, raise_generation, want
from serving.gateway import forwarding
from serving.gateway.app import GatewayOptions
from serving.gateway.feedback_endpoint import ACK_S_MAX
from serving.gateway.openai_form import error_status
from tests.meters import since, told
from tests.unit.ledger import teaching
from tests.unit.serving.front import Front, front, show, until
from tests.unit.serving.scene import Scene

ASK = [{"role": "user", "content": "ask 1"}]


def name_of(path: str, _messages) -> str:
    """Every model says which it is."""
    return path.rpartition("/")[2]


@pytest.fixture
def world(scene: Scene) -> Scene:
    """Two agents on two replicas: billing serves v1, sql the base."""
    scene.agent("billing", capture=True)
    scene.agent("sql")
    champion = scene.champion("billing")
    for _ in range(2):
        scene.replica(brain=name_of).adapters[champion.model] = scene.path(champion)
    show(scene)
    return scene


@pytest.fixture
def gateway(world: Scene) -> Iterator[Front]:
    with front(world.database) as running:
        until(lambda: running.get("/readyz").status_code == 200)
        yield running


def said(gateway: Front, agent: str = "billing", **more) -> str:
    return text_of(gateway.client().chat.completions.create(model=agent, messages=ASK, **more))


def text_of(answer) -> str:
    return answer.choices[0].message.content


def load(scene: Scene, version) -> None:
    for fake in scene.replicas:
        fake.adapters[version.model] = scene.path(version)
    show(scene)


def test_each_agent_is_answered_by_its_own_version(gateway):
    assert said(gateway).startswith("v1-")
    assert said(gateway, "sql") == "base"


def test_every_answer_says_who_spoke(gateway, world):
    raw = gateway.client().chat.completions.with_raw_response.create(model="billing", messages=ASK)
    answer = raw.parse()
    assert raw.headers["x-clorad-agent"] == "billing"
    assert raw.headers["x-clorad-version"] == answer.choices[0].message.content
    assert len(raw.headers["x-clorad-interaction"]) == 32
    assert answer.model == "billing"
    other = gateway.client().chat.completions.with_raw_response.create(model="sql", messages=ASK)
    assert other.headers["x-clorad-version"] == "v0"


def test_agents_are_the_models_of_this_server(gateway):
    assert [model.id for model in gateway.client().models.list()] == ["billing", "sql"]


def test_an_unknown_agent_is_a_404_as_clients_know_it(gateway):
    with pytest.raises(openai.NotFoundError) as refusal:
        said(gateway, "nobody")
    assert refusal.value.body["code"] == "model_not_found"
    assert refusal.value.response.headers["x-clorad-interaction"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{not json", 400),
        (b"[1]", 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
        (b"{}", 404),
        (b'{"model": 7}', 404),
        (b'{"model": "billing", "messages": [], "stream": "yes"}', 400),
        (b'{"model": "billing", "messages": "ask"}', 400),
        (b'{"model": "billing", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', 400),
        (b" " * (4 * 1024 * 1024 + 1), 413),
    ],
)
def test_bad_requests_are_refused_in_openais_form(gateway, body, status):
    answer = gateway.send("/v1/chat/completions", body)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-clorad-interaction"]


@pytest.mark.parametrize(
    ("path", "asking", "param"),
    [
        ("/v1/chat/completions", {"prompt_logprobs": 0}, "prompt_logprobs"),
        ("/v1/completions", {"prompt_logprobs": False}, "prompt_logprobs"),
        ("/v1/chat/completions", {"echo": True}, "echo"),
        ("/v1/completions", {"echo": True, "logprobs": 0}, "echo"),
        ("/v1/completions", {"logprob_token_ids": [1]}, "logprob_token_ids"),
    ],
)
def test_what_would_harm_the_others_never_reaches_a_replica(gateway, world, path, asking, param):
    answer = gateway.send(path, {"model": "billing", "messages": ASK, "prompt": "ask", **asking})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert all(asked == [] for asked in (fake.asked for fake in world.replicas))


def test_a_completion_may_repeat_its_prompt(gateway):
    asking = {"model": "billing", "prompt": "ask", "echo": True, "prompt_logprobs": None}
    assert gateway.send("/v1/completions", asking).status_code == 200


def test_completions_are_served_too(gateway):
    raw = gateway.client().completions.with_raw_response.create(model="billing", prompt="ask")
    assert raw.parse().choices[0].text.startswith("v1-")
    assert raw.headers["x-clorad-version"].startswith("v1-")


def test_streams_arrive_piece_by_piece(gateway, world):
    for fake in world.replicas:
        fake.trouble.chunk_delay_s = 0.02
    client = gateway.client()
    with client.chat.completions.with_streaming_response.create(
        model="billing", messages=ASK, stream=True
    ) as raw:
        assert raw.headers["x-clorad-version"].startswith("v1-")
        chunks = list(raw.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("v1-")
    assert len(chunks) > 5
    assert {chunk.model for chunk in chunks} == {"billing"}


def test_text_streams_arrive_too(gateway):
    chunks = list(gateway.client().completions.create(model="billing", prompt="ask", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks).startswith("v1-")


def test_clients_see_ids_and_logprobs_only_when_they_asked(gateway):
    plain = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK}).json()
    assert plain["choices"][0]["logprobs"] is None
    assert plain["choices"][0]["token_ids"] is None
    assert plain["prompt_token_ids"] is None
    asking = {"model": "billing", "messages": ASK, "logprobs": True, "return_token_ids": True}
    full = gateway.send("/v1/chat/completions", asking).json()
    assert full["choices"][0]["logprobs"]["content"]
    assert full["choices"][0]["token_ids"]
    assert full["prompt_token_ids"]
    half = gateway.send("/v1/chat/completions", {**asking, "return_token_ids": False}).json()
    assert half["choices"][0]["logprobs"]["content"]
    assert half["choices"][0]["token_ids"] is None


def test_streams_hide_what_was_not_asked_for(gateway):
    raw = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK, "stream": True}).text
    assert 'token_ids": [' not in raw.replace('":[', '": [')
    assert '"logprob"' not in raw
    assert raw.endswith("data: [DONE]\n\n")


def test_answers_of_agents_with_capture_are_kept_with_their_tokens(gateway):
    raw = gateway.client(default_headers={"x-clorad-conversation": "c1", "x-clorad-turn": "3"})
    answer = raw.chat.completions.with_raw_response.create(
        model="billing", messages=ASK, temperature=0.5, max_tokens=40
    )
    until(lambda: gateway.post.records)
    [record] = gateway.post.records
    [data] = gateway.post.data("clorad.interactions")
    headers = dict(record.headers)
    assert headers["ce_type"] == b"clorad.interaction.v1"
    assert headers["ce_id"].decode() == answer.headers["x-clorad-interaction"]
    assert data["messages"] == ASK
    assert data["completion"] == answer.parse().choices[0].message.content
    assert data["version"] == answer.headers["x-clorad-version"]
    assert (data["conversation"], data["turn"]) == ("c1", 3)
    assert data["sampling"] == {"temperature": 0.5, "max_tokens": 40}
    assert len(data["token_ids"]) == len(data["logprobs"]) > 0
    assert data["finish_reason"] == "stop"


def test_streamed_answers_are_kept_the_same_way(gateway):
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    )
    until(lambda: gateway.post.records)
    [data] = gateway.post.data("clorad.interactions")
    assert data["completion"] == text
    assert len(data["token_ids"]) == len(data["logprobs"]) == len(text) + 1


@pytest.mark.parametrize("capture", ["off", "OFF"])
def test_marked_traffic_is_not_kept(gateway, world, capture):
    client = gateway.client(default_headers={"x-clorad-capture": capture})
    client.chat.completions.create(model="billing", messages=ASK)
    said(gateway, "sql")
    time.sleep(0.5)
    assert gateway.post.records == []
    bodies = [body for fake in world.replicas for path, body in fake.asked if "chat" in path]
    assert not any("return_token_ids" in body for body in bodies)


def test_a_secret_is_taken_out_of_a_capture_and_its_tokens_with_it(gateway):
    secret = [{"role": "user", "content": "my card is 4111 1111 1111 1111, thanks"}]
    gateway.client().chat.completions.create(model="billing", messages=secret)
    until(lambda: gateway.post.records)
    [data] = gateway.post.data("clorad.interactions")
    assert "4111" not in json.dumps(data)
    assert "token_ids" not in data
    assert "logprobs" not in data


def test_an_exchange_too_large_for_an_event_is_answered_and_not_kept(gateway, world):
    for fake in world.replicas:
        fake.context_tokens_max = 10**6
    long = [{"role": "user", "content": "x" * 300_000}]
    assert gateway.send("/v1/chat/completions", {"model": "billing", "messages": long}).status_code == 200
    said(gateway)
    until(lambda: gateway.post.records)
    assert [data["messages"] for data in gateway.post.data("clorad.interactions")] == [ASK]


def test_kafka_away_costs_captures_and_no_answer(gateway):
    gateway.post.trouble = "full"
    assert all(said(gateway).startswith("v1-") for _ in range(5))


def test_a_flip_reaches_the_gateway_and_nothing_fails_meanwhile(gateway, world):
    second = world.candidate("billing")
    load(world, second)
    client, stop, spoken = gateway.client(), threading.Event(), []

    def chat() -> None:
        while not stop.is_set():
            spoken.append(text_of(client.chat.completions.create(model="billing", messages=ASK)))

    with ThreadPoolExecutor(8) as pool:
        chatting = [pool.submit(chat) for _ in range(8)]
        time.sleep(0.5)
        teaching.promote(world.database, second)
        flipped = time.monotonic()
        until(lambda: spoken and spoken[-1] == second.name)
        swap_s = time.monotonic() - flipped
        time.sleep(0.3)
        stop.set()
    assert [chat.exception() for chat in chatting] == [None] * 8
    assert {name.partition("-")[0] for name in spoken} == {"v1", "v2"}
    assert swap_s < 2.0


def test_a_replica_that_dies_costs_no_request_while_another_lives(gateway, world):
    client, stop, spoken = gateway.client(), threading.Event(), []
    for fake in world.replicas:
        fake.trouble.answer_delay_s = 0.03

    def chat() -> None:
        while not stop.is_set():
            spoken.append(text_of(client.chat.completions.create(model="billing", messages=ASK)))

    with ThreadPoolExecutor(8) as pool:
        chatting = [pool.submit(chat) for _ in range(8)]
        time.sleep(0.3)
        world.replicas[0].die()
        time.sleep(0.7)
        world.replicas[0].start()  # empty: it answers 404 for what it does not have
        time.sleep(0.7)
        stop.set()
    assert [chat.exception() for chat in chatting] == [None] * 8
    assert len(spoken) > 50


def test_a_replica_that_restarted_empty_is_passed_over(gateway, world):
    for fake in world.replicas[:1]:
        fake.die()
        fake.start()
    assert {said(gateway) for _ in range(6)} == {name_of(*world.replicas[1].adapters.values(), None)}


def test_the_only_replica_restarting_is_waited_for(scene):
    scene.agent("sql")
    fake = scene.replica(brain=name_of)
    show(scene)
    with front(scene.database) as gateway:
        until(lambda: gateway.get("/readyz").status_code == 200)
        fake.die()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(said, gateway, "sql")
            time.sleep(0.5)
            fake.start()
            assert waiting.result(timeout=10) == "base"


def test_failures_of_a_replica_are_tried_elsewhere(gateway, world):
    for fake in world.replicas:
        fake.trouble.failures_left = 1
    assert said(gateway).startswith("v1-")


def test_a_request_that_every_replica_fails_on_is_told_so(gateway, world):
    for fake in world.replicas:
        fake.trouble.failures_left = 10
    with pytest.raises(openai.InternalServerError) as failure:
        said(gateway)
    assert failure.value.status_code == 502
    assert sum(len(fake.asked) for fake in world.replicas) == 3


def test_a_connection_that_breaks_before_the_first_byte_is_tried_elsewhere(gateway, world):
    world.replicas[0].trouble.hang_up_before_answer = True
    assert {said(gateway) for _ in range(6)} == {said(gateway)}
    stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream).startswith("v1-")


def test_a_stream_that_breaks_later_is_never_begun_anew(gateway, world):
    for fake in world.replicas:
        fake.trouble.hang_up_after_chunks = 4
    pieces = []

    def listen() -> None:
        for chunk in gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True):
            pieces.append(chunk.choices[0].delta.content or "")

    with pytest.raises(openai.APIError, match="broke off"):
        listen()
    assert "".join(pieces) == world.replicas[0].brain(*world.replicas[0].adapters.values(), None)[:3]
    assert sum(len(fake.asked) for fake in world.replicas) == 1
    time.sleep(0.3)
    assert gateway.post.records == [], "half an answer is not an interaction"


@pytest.fixture
def in_turn(gateway, world, monkeypatch):
    """The replicas in the order in which an idle gateway asks them; who failed is asked last from then on."""
    monkeypatch.setattr(forwarding, "RESTING_S", 60.0)
    urls = [one["url"] for one in gateway.get("/routing").json()["replicas"]]
    return sorted(world.replicas, key=lambda fake: urls.index(fake.url))


@pytest.mark.parametrize("words", [b"<html>", b'{"choices": [7]}'])
def test_an_answer_that_makes_no_sense_is_tried_elsewhere_and_then_told(gateway, in_turn, words):
    first, second = in_turn
    first.trouble.says = words
    assert {said(gateway).partition("-")[0] for _ in range(4)} == {"v1"}
    assert len(first.asked) == 1, "then it is asked last"
    second.trouble.says = words
    with pytest.raises(openai.InternalServerError) as failure:
        said(gateway)
    assert (failure.value.status_code, failure.value.body["type"]) == (502, "api_error")
    assert len(first.asked) + len(second.asked) == 1 + 4 + forwarding.FAILURES_MAX


@pytest.mark.parametrize("words", [b"<html>", b'{"choices": [7]}'])
def test_a_stream_that_makes_no_sense_is_tried_elsewhere_or_broken_off(gateway, in_turn, words):
    first, second = in_turn

    def listened() -> str:
        stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    first.trouble.says, first.trouble.says_at = words, 3
    with pytest.raises(openai.APIError, match="broke off"):
        listened()
    assert {listened().partition("-")[0] for _ in range(4)} == {"v1"}
    assert len(first.asked) == 1, "then it is asked last"
    first.trouble.says, second.trouble.says = None, words
    assert listened().startswith("v1-"), "nothing of the first answer had been shown yet"
    assert (len(first.asked), len(second.asked)) == (2, 5)


def error_of(status: int) -> bytes:
    """An error as vLLM tells of it once a stream has begun."""
    return json.dumps({"error": {"message": "oh", "type": "Error", "param": None, "code": status}}).encode()


def test_an_error_told_in_a_stream_counts_like_its_status(gateway, in_turn):
    first, second = in_turn

    def listened() -> str:
        stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    first.trouble.says = error_of(500)
    assert listened().startswith("v1-"), "nothing had been shown yet: tried elsewhere"
    first.trouble.says = error_of(422)
    with pytest.raises(openai.UnprocessableEntityError):
        listened()
    kept = len(gateway.post.data("clorad.interactions"))
    for status, asked_last in ((422, False), (503, True)):
        first.trouble.says, first.trouble.says_at = error_of(status), 3
        with pytest.raises(openai.APIError, match="broke off"):
            listened()
        asked = len(second.asked)
        first.trouble.says = None
        assert listened().startswith("v1-")
        assert (len(second.asked) > asked) is asked_last
    until(lambda: len(gateway.post.data("clorad.interactions")) == kept + 2)


def test_an_error_after_the_last_word_makes_no_interaction(gateway, world):
    for fake in world.replicas:
        fake.trouble.says, fake.trouble.says_at = (
            error_of(500),
            len(fake.brain(*fake.adapters.values(), None)) + 2,
        )
    stream = gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True)
    ends = []
    with pytest.raises(openai.APIError, match="broke off"):
        ends.extend(chunk.choices[0].finish_reason for chunk in stream)
    assert "stop" in ends
    time.sleep(0.3)
    assert gateway.post.records == [], "who tells of an error has not answered"


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"error": {"code": 404}}, 404),
        ({"error": {"code": "rate_limit"}}, 500),
        ({"error": "oh"}, 500),
        ({"error": {"code": 200}}, 500),
        ({"error": None, "choices": []}, None),
        ({"choices": []}, None),
    ],
)
def test_which_status_an_event_stands_for(event, status):
    assert error_status(event) == status


def test_a_refusal_of_a_replica_that_is_no_json_is_no_answer(gateway, world):
    for fake in world.replicas:
        fake.trouble.refuses = b"<html>413"
    answer = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")


def test_no_replica_is_a_503_that_says_when_to_come_back(world):
    show(world, out=frozenset(fake.url for fake in world.replicas))
    with front(world.database, wait_s_max=0.3) as gateway:
        until(lambda: gateway.get("/routing").json()["generation"])
        assert gateway.get("/readyz").status_code == 503
        answer = gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_an_answer_that_takes_too_long_is_a_504(world):
    for fake in world.replicas:
        fake.trouble.answer_delay_s = 2.0
    with front(world.database, request_s_max=0.5) as gateway:
        until(lambda: gateway.get("/readyz").status_code == 200)
        assert gateway.send("/v1/chat/completions", {"model": "billing", "messages": ASK}).status_code == 504


def test_the_ledger_going_away_changes_nothing(gateway, world, tmp_path):
    assert said(gateway).startswith("v1-")
    (tmp_path / "clorad.db").rename(tmp_path / "away.db")
    world.database.close()
    time.sleep(0.3)
    assert {said(gateway).partition("-")[0] for _ in range(5)} == {"v1"}
    assert gateway.get("/readyz").status_code == 200


def test_a_ledger_that_was_damaged_changes_nothing(gateway, world, tmp_path):
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"this was a ledger once\n" * 1000)
    damaged.replace(tmp_path / "clorad.db")
    for beside in ("clorad.db-wal", "clorad.db-shm"):
        (tmp_path / beside).unlink(missing_ok=True)
    world.database.close()
    with pytest.raises(LedgerDamaged), world.database.read():
        pass
    time.sleep(0.3)
    assert {said(gateway).partition("-")[0] for _ in range(5)} == {"v1"}
    assert gateway.get("/readyz").status_code == 200


def test_a_gateway_without_a_ledger_waits_for_it_and_is_not_ready(scene, tmp_path):
    scene.agent("sql")
    scene.replica(brain=name_of)
    show(scene)
    later = tmp_path / "later"
    database = Database(f"sqlite:///{later / 'clorad.db'}")  # no tables in it yet
    with front(database) as gateway:
        time.sleep(0.3)
        assert gateway.get("/healthz").status_code == 200
        assert gateway.get("/readyz").status_code == 503
        assert gateway.get("/v1/models").status_code == 503
        answer = gateway.send("/v1/chat/completions", {"model": "sql", "messages": ASK})
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        database.migrate()
        agents.declare(database, agents.Agent(name="sql", base_hash="b" * 64))
        until(lambda: gateway.get("/v1/models").json()["data"])
        assert [model.id for model in gateway.client().models.list()] == ["sql"]
    database.close()


def test_stopping_lets_answers_in_flight_finish(world):
    for fake in world.replicas:
        fake.trouble.answer_delay_s = 1.0
    with front(world.database) as gateway:
        until(lambda: gateway.get("/readyz").status_code == 200)
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(said, gateway) for _ in range(4)]
            until(lambda: sum(fake.in_flight for fake in world.replicas) == 4)
            gateway.stopping.set()
            assert all(one.result(timeout=10).startswith("v1-") for one in waiting)
    assert len(gateway.post.data("clorad.interactions")) == 4, "what was said last is captured too"


def test_an_answer_may_take_as_long_at_the_end_as_at_any_time():
    assert GatewayOptions(request_s_max=60.0).drain_s_max > 60.0
    assert GatewayOptions(request_s_max=1.0).drain_s_max > ACK_S_MAX, "feedback is not cut off either"


def test_who_is_asked_to_leave_says_so_and_answers_until_nobody_sends(world):
    with front(world.database, leave_s=5.0) as gateway:
        until(lambda: gateway.get("/readyz").status_code == 200)
        with httpx.Client(base_url=gateway.url, trust_env=False, timeout=10.0) as client:
            assert "connection" not in client.get("/v1/models").headers
            gateway.stopping.set()
            unready = client.get("/readyz")
            assert (unready.status_code, unready.json()["why"]) == (503, "asked to stop")
            assert unready.headers["connection"] == "close"
            until(lambda: gateway.health.checks.get("routing") is False)
            assert client.get("/healthz").status_code == 200
            time.sleep(1.0)  # by then a door that is shut at once is shut
            answer = client.post("/v1/chat/completions", json={"model": "billing", "messages": ASK})
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_work_is_spread_over_the_replicas(gateway, world):
    for fake in world.replicas:
        fake.trouble.answer_delay_s = 0.1
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: said(gateway), range(32)))
    counts = [len([path for path, _ in fake.asked if "chat" in path]) for fake in world.replicas]
    assert min(counts) >= 12


def test_a_canary_speaks_to_its_share_and_to_the_same_people_each_time(gateway, world):
    candidate = world.candidate("billing")
    load(world, candidate)
    with world.database.write() as connection:
        want(connection, candidate, Purpose.CANARY, share=0.5)
        raise_generation(connection)
    time.sleep(0.3)

    def speaker(conversation: int) -> str:
        client = gateway.client(default_headers={"x-clorad-conversation": f"c{conversation}"})
        return text_of(client.chat.completions.create(model="billing", messages=ASK))

    first, second = ([speaker(n) for n in range(12)] for _ in range(2))
    assert first == second
    assert set(first) > {candidate.name}


def test_the_routing_is_shown_to_tools(gateway, world):
    shown = gateway.get("/routing").json()
    assert shown["agents"]["sql"] == "v0"
    assert shown["agents"]["billing"].startswith("v1-")
    assert len(shown["replicas"]) == 2


def test_every_request_is_counted_by_its_status_and_by_nothing_else(gateway):
    before = told("clorad.gateway.requests")
    said(gateway)
    said(gateway, "sql")
    list(gateway.client().chat.completions.create(model="billing", messages=ASK, stream=True))
    with pytest.raises(openai.NotFoundError):
        said(gateway, "nobody")
    until(lambda: since(before, "clorad.gateway.requests") == {(("status", 200),): 3, (("status", 404),): 1})


def test_a_gateway_tells_the_generation_that_it_routes_by(gateway, world):
    with world.database.write() as connection:
        raised = raise_generation(connection)
    until(lambda: told("clorad.gateway.generation") == {(): raised})
