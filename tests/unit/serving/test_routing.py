"""The choice of who answers: pure, over a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ledger.versions.routing import ReplicaState, Route, Routing
from serving.gateway.routing import choose, speaker

MODEL = "billing@v7-3fa2c1"


def replica(url: str, *models: str, in_rotation: bool = True) -> ReplicaState:
    return ReplicaState(url=url, in_rotation=in_rotation, base_name=f"base of {url}", models=models)


def table(*replicas: ReplicaState, **route) -> Routing:
    billing = Route(agent="billing", version="v7-3fa2c1", model=MODEL, capture=False, **route)
    sql = Route(agent="sql", version="v0", model=None, capture=False)
    return Routing(generation=3, routes={"billing": billing, "sql": sql}, replicas=replicas)


def url(known: Routing, agent: str = "billing", **more) -> str | None:
    found = choose(known, agent, conversation="c", **{"in_flight": {}, **more})
    return found.url if found else None


def test_only_replicas_that_list_the_version_are_asked():
    assert url(table(replica("a"), replica("b", MODEL))) == "b"
    assert url(table(replica("a"), replica("b"))) is None


def test_replicas_out_of_rotation_are_not_asked():
    assert url(table(replica("a", MODEL, in_rotation=False))) is None


def test_the_least_busy_one_is_asked():
    known = table(replica("a", MODEL), replica("b", MODEL), replica("c", MODEL))
    assert url(known, in_flight={"a": 2, "b": 1, "c": 3}) == "b"
    assert url(known) == "a"


def test_whoever_just_failed_is_left_out():
    known = table(replica("a", MODEL), replica("b", MODEL))
    assert url(known, avoid={"a"}) == "b"
    assert url(known, avoid={"a", "b"}) is None


def test_the_base_is_asked_for_by_the_name_each_replica_has_for_it():
    found = choose(table(replica("a"), replica("b")), "sql", conversation="c", in_flight={"a": 1})
    assert (found.url, found.model, found.version) == ("b", "base of b", "v0")


def test_an_unknown_agent_is_an_error_of_the_caller():
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
def test_no_share_is_nobody_and_the_whole_is_everybody(conversation):
    assert speaker(canary(0.0), conversation)[0] == "v7-3fa2c1"
    assert speaker(canary(1.0), conversation) == ("v8-000000", "billing@v8-000000")


@given(conversation=some.text(max_size=40), share=some.floats(0.0, 1.0))
def test_a_conversation_hears_one_voice(conversation, share):
    assert speaker(canary(share), conversation) == speaker(canary(share), conversation)


def test_a_share_is_that_share_and_every_candidate_meets_other_people():
    def met(version: str) -> set[int]:
        return {n for n in range(4000) if speaker(canary(0.1, version), f"c{n}")[0] == version}

    first, second = met("v8-000000"), met("v9-000000")
    assert 300 < len(first) < 500
    assert len(first & second) < 100
