"""The choice of replica and version, as a pure function of the routing table, and in a gateway."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ledger.access.keys import create_key
from ledger.access.rights import Grant, Right
from ledger.versions import promotion
from ledger.versions.decisions import BY_NOBODY, Verdict
from ledger.versions.desired import Purpose, raise_generation, want
from ledger.versions.routing import ReplicaState, Route, Routing
from serving.gateway.routing import choose, version_for
from tests.meters import metric_values
from tests.unit.ledger import turn_builder
from tests.unit.ledger.turn_builder import build_decision
from tests.unit.serving.gateway.gateway_builder import ASK, RunningGateway, load_adapter, text_of, wait_until
from tests.unit.serving.serving_environment import ServingEnvironment

MODEL = "billing@v7-3fa2c1"


def replica(url: str, *models: str, in_rotation: bool = True) -> ReplicaState:
    return ReplicaState(url=url, in_rotation=in_rotation, base_name=f"base of {url}", models=models)


def table(*replicas: ReplicaState, **route) -> Routing:
    billing = Route(agent="billing", version="v7-3fa2c1", model=MODEL, capture=False, **route)
    sql = Route(agent="sql", version="v0", model=None, capture=False)
    return Routing(generation=3, routes={"billing": billing, "sql": sql}, replicas=replicas)


def url(routing: Routing, agent: str = "billing", **more) -> str | None:
    target = choose(routing, agent, conversation="c", **{"in_flight": {}, **more})
    return target.url if target else None


def test_only_replicas_that_list_the_version_are_asked() -> None:
    assert url(table(replica("a"), replica("b", MODEL))) == "b"
    assert url(table(replica("a"), replica("b"))) is None


def test_replicas_out_of_rotation_are_not_asked() -> None:
    assert url(table(replica("a", MODEL, in_rotation=False))) is None


def test_the_least_busy_replica_is_asked() -> None:
    known = table(replica("a", MODEL), replica("b", MODEL), replica("c", MODEL))
    assert url(known, in_flight={"a": 2, "b": 1, "c": 3}) == "b"
    assert url(known) == "a"


def test_a_replica_that_just_failed_is_left_out() -> None:
    known = table(replica("a", MODEL), replica("b", MODEL))
    assert url(known, avoid={"a"}) == "b"
    assert url(known, avoid={"a", "b"}) is None


def test_a_version_that_nobody_judged_answers_only_requests_of_its_experiment() -> None:
    experiment = {"experiment_version": "v9-000000", "experiment_model": "billing@v9-000000"}
    known = table(replica("a", MODEL, "billing@v9-000000"), **experiment)

    def version(**more: bool) -> str:
        target = choose(known, "billing", conversation="c", in_flight={}, **more)
        assert target is not None
        return target.version

    assert (version(), version(experiments=True)) == ("v7-3fa2c1", "v9-000000")
    assert url(table(replica("a", MODEL), **experiment), experiments=True) is None, "nothing stands in for it"
    assert url(table(replica("a", MODEL)), experiments=True) == "a"


def test_the_champion_stands_in_for_a_canary_that_no_replica_lists() -> None:
    def version(*replicas: ReplicaState, avoid: frozenset[str] = frozenset()) -> str | None:
        known = table(*replicas, canary_version="v8-000000", canary_model="canary", canary_share=1.0)
        found = choose(known, "billing", conversation="c", in_flight={}, avoid=avoid)
        return found.version if found else None

    assert version(replica("a", MODEL), replica("b", MODEL, "canary")) == "v8-000000"
    assert version(replica("a", MODEL), replica("b", MODEL, "canary", in_rotation=False)) == "v7-3fa2c1"
    assert version(replica("a", MODEL), replica("b", "canary"), avoid=frozenset({"b"})) is None


def test_the_base_is_asked_for_by_the_name_each_replica_has_for_it() -> None:
    target = choose(table(replica("a"), replica("b")), "sql", conversation="c", in_flight={"a": 1})
    assert (target.url, target.model, target.version) == ("b", "base of b", "v0")


def test_an_unknown_agent_raises_a_key_error() -> None:
    with pytest.raises(KeyError):
        choose(table(), "nobody", conversation="c", in_flight={})


def canary(share: float, version: str = "v8-000000") -> Route:
    return Route(
        agent="billing",
        version="v7-3fa2c1",
        model=MODEL,
        capture=False,
        canary_version=version,
        canary_model=f"billing@{version}",
        canary_share=share,
    )


@given(conversation=some.text(max_size=40))
def test_share_zero_reaches_no_conversation_and_share_one_every_conversation(conversation: str) -> None:
    assert version_for(canary(0.0), conversation)[0] == "v7-3fa2c1"
    assert version_for(canary(1.0), conversation) == ("v8-000000", "billing@v8-000000")


@given(conversation=some.text(max_size=40), share=some.floats(0.0, 1.0))
def test_a_conversation_always_gets_the_same_version(conversation: str, share: float) -> None:
    assert version_for(canary(share), conversation) == version_for(canary(share), conversation)


def test_a_canary_gets_its_share_and_each_canary_other_conversations() -> None:
    def conversations_of(version: str) -> set[int]:
        return {n for n in range(4000) if version_for(canary(0.1, version), f"c{n}")[0] == version}

    first, second = conversations_of("v8-000000"), conversations_of("v9-000000")
    assert 300 < len(first) < 500
    assert len(first & second) < 100


def test_a_promotion_reaches_the_gateway_and_no_request_fails(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    second = two_replicas.candidate("billing")
    load_adapter(two_replicas, second)
    client, stop, answers = gateway.client(), threading.Event(), []

    def chat() -> None:
        while not stop.is_set():
            answers.append(text_of(client.chat.completions.create(model="billing", messages=ASK)))

    with ThreadPoolExecutor(8) as pool:
        chatting = [pool.submit(chat) for _ in range(8)]
        time.sleep(0.5)
        turn_builder.promote(two_replicas.database, second)
        flipped = time.monotonic()
        wait_until(lambda: answers and answers[-1] == second.name)
        swap_s = time.monotonic() - flipped
        time.sleep(0.3)
        stop.set()
    assert [chat.exception() for chat in chatting] == [None] * 8
    assert {name.partition("-")[0] for name in answers} == {"v1", "v2"}
    assert swap_s < 2.0


def test_a_canary_answers_the_same_share_of_conversations_each_time(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    candidate = two_replicas.candidate("billing")
    load_adapter(two_replicas, candidate)
    with two_replicas.database.write() as connection:
        want(connection, candidate, Purpose.CANARY, share=0.5)
        raise_generation(connection)
    time.sleep(0.3)

    def answering_version(conversation: int) -> str:
        client = gateway.client(default_headers={"x-clorad-conversation": f"c{conversation}"})
        return text_of(client.chat.completions.create(model="billing", messages=ASK))

    first, second = ([answering_version(n) for n in range(12)] for _ in range(2))
    assert first == second
    assert set(first) > {candidate.name}


def test_the_gateway_reports_the_generation_it_routes_by(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    metric_values("clorad.gateway.generation")  # what is set before the first reading is lost
    with two_replicas.database.write() as connection:
        raised = raise_generation(connection)
    wait_until(lambda: metric_values("clorad.gateway.generation") == {(): raised})


def test_only_requests_with_an_experiments_key_are_answered_by_what_nobody_judged(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    unjudged, database = two_replicas.candidate("billing"), two_replicas.database
    load_adapter(two_replicas, unjudged)
    promotion.promote(database, unjudged, build_decision(unjudged, Verdict.PROMOTE, by=BY_NOBODY))
    rights = frozenset({Right.TALK, Right.READ, Right.EXPERIMENT})
    _, experiment = create_key(database, Grant(name="sums", rights=rights), by="ops")
    _, usual = create_key(database, Grant(name="ann"), by="ops")
    chat = {"model": "billing", "messages": ASK}

    def version(**headers: str) -> str:
        answer = gateway.send("/v1/chat/completions", chat, **headers)
        return str(answer.headers.get("x-clorad-version", answer.status_code))

    wait_until(lambda: version(authorization=f"Bearer {experiment.text}") == unjudged.name)
    others = {version(), version(authorization=f"Bearer {usual.text}")}
    assert {name.partition("-")[0] for name in others} == {"v1"}
    shown = gateway.get("/routing", authorization=f"Bearer {experiment.text}").json()["agents"]
    assert shown["billing"] == unjudged.name, "the table names the version that answers who reads it"
