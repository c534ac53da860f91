"""Paths that replicas may lack, and what is the same on each path."""

import json

import openai
import pytest

from serving.gateway.edge.request_fields import ALLOWED, EMBEDDINGS
from serving.gateway.forms.paths import FORMS
from tests.meters import metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import ASK, LIVE, RunningGateway, wait_until
from tests.unit.serving.serving_environment import ServingEnvironment

BODY = {"model": "billing", "messages": ASK, "prompt": "ask 1", "input": "ask 1", "max_tokens": 40}


def test_each_path_has_a_list_of_fields() -> None:
    assert FORMS.keys() == ALLOWED.keys()
    assert all(form.path == path for path, form in FORMS.items())


def test_a_path_that_no_replica_has_is_a_404_at_once(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    with pytest.raises(openai.NotFoundError) as refusal:
        gateway.client().embeddings.create(model="billing", input="ask 1", encoding_format="float")
    assert "no replica has this path" in refusal.value.body["message"]
    assert refusal.value.response.headers["x-clorad-interaction"]
    assert [len(fake.requests) for fake in two_replicas.replicas] == [1, 1]


def test_a_replica_that_lacks_the_path_is_passed_over(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    two_replicas.replicas[0].missing_paths.add("/v1/messages")
    for _ in range(4):
        assert gateway.send("/v1/messages", BODY).status_code == 200


def test_a_path_that_the_model_does_not_support_is_passed_on_as_that(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for fake in two_replicas.replicas:
        fake.faults.failures_left, fake.faults.failure_status = 1, 501
    answer = gateway.send("/v1/responses", BODY)
    assert (answer.status_code, answer.json()["error"]["type"]) == (501, "InternalServerError")


def test_embeddings_are_asked_for_in_forms_that_are_json(gateway: RunningGateway) -> None:
    refused = gateway.send(EMBEDDINGS, {**BODY, "encoding_format": "bytes"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "encoding_format")


def test_embeddings_are_passed_on_and_counted_as_not_captured(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    vectors = {
        "object": "list",
        "model": "v1",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    }
    for fake in two_replicas.replicas:
        fake.vectors = vectors
    before = metric_values("clorad.gateway.interactions")
    answer = gateway.client().embeddings.create(model="billing", input="ask 1", encoding_format="float")
    assert (answer.model, answer.data[0].embedding) == ("billing", [0.5])
    assert metric_increases(before, "clorad.gateway.interactions") == {(("fate", "embeddings"),): 1}


def test_live_counters_count_answers_in_words_on_every_path(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    paths = [path for path, form in FORMS.items() if form.is_conversation]
    for path in (*paths, "/v1/messages/count_tokens", EMBEDDINGS):
        gateway.send(path, {**BODY, "max_output_tokens": 40}, x_clorad_conversation=path)

    def conversations() -> int:
        counts = gateway.sends.data("clorad.interactions", kind=LIVE)
        return sum(version["conversations"] for count in counts for version in count["versions"].values())

    wait_until(lambda: conversations() >= len(paths))
    assert conversations() == len(paths)
    assert {at for fake in two_replicas.replicas for at, _ in fake.requests} == FORMS.keys()


def test_a_key_of_the_client_reaches_no_replica(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    for path in FORMS:
        gateway.send(path, BODY, x_api_key="secret-of-the-client", authorization="Bearer another")
    asked = [body for fake in two_replicas.replicas for _, body in fake.requests]
    assert "secret-of-the-client" not in json.dumps(asked)
    assert {given for fake in two_replicas.replicas for given in fake.authorizations} == {None}
