"""What a client may ask of a replica, and what never reaches one."""

from typing import Any

import pytest

from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.request_fields import (
    CHAT,
    EMBEDDINGS,
    KNOWN,
    MESSAGES,
    NEVER_DROPPED,
    RESPONSES,
    TEXT,
    printable_names,
)
from tests.meters import metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import (
    ASK,
    RunningGateway,
    build_field_rules,
    build_gateway,
    wait_until,
)
from tests.unit.serving.serving_environment import ServingEnvironment

DROPPED = "clorad.gateway.fields.dropped"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
ORDINARY = {
    "temperature": 0.5,
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_object"},
    "chat_template_kwargs": {"enable_thinking": False},
    "reasoning_effort": "low",
    "stream_options": {"include_usage": True},
    "logit_bias": {"1": 2.0},
    "stop": ["x"],
    "user": "ann",
    "max_completion_tokens": 7,
}


def refused_param(body: dict[str, Any], path: str = CHAT, **rules: Any) -> str | None:
    with pytest.raises(RequestRefused) as refusal:
        build_field_rules(**rules).apply(path, body)
    assert refusal.value.status == 400
    param = refusal.value.body["error"]["param"]
    assert isinstance(param, str)
    return param


def part(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [content]}]}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_fields_pass_unchanged(name: str) -> None:
    assert build_field_rules().apply(CHAT, {name: ORDINARY[name]}) == ({name: ORDINARY[name]}, [])


@pytest.mark.parametrize("path", [CHAT, TEXT, RESPONSES, MESSAGES, EMBEDDINGS])
@pytest.mark.parametrize("name", [*KNOWN, "a_field_of_tomorrow", "__proto__", ""])
def test_a_field_that_is_not_listed_is_left_out_and_counted(path: str, name: str) -> None:
    before = metric_values(DROPPED)
    assert build_field_rules().apply(path, {"model": "a", name: 1}) == ({"model": "a"}, [name])
    counted = name if name in KNOWN else "other"
    assert metric_increases(before, DROPPED) == {(("field", counted),): 1}
    assert refused_param({name: 1}, path, others="refuse") == name
    assert build_field_rules(added={name}).apply(path, {name: 1}) == ({name: 1}, [])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 10**9}, "n"),
        ({"n": 129}, "n"),
        ({"best_of": 129}, "n"),
        ({"n": 1, "best_of": 10**9}, "n"),
        ({"n": 2, "prompt": ["a"] * 65}, "prompt"),
        ({"prompt": [[1, 2]] * 129}, "prompt"),
    ],
)
def test_one_request_has_only_so_many_choices_generated(body: dict[str, Any], param: str) -> None:
    assert refused_param(body, TEXT) == param


@pytest.mark.parametrize(
    "body",
    [
        {"n": 128, "prompt": "a"},
        {"n": 2, "prompt": ["a"] * 64},
        {"prompt": [7] * 5000},
        {"prompt": []},
        {"n": True},
        {"n": "many"},
        {"n": -1},
    ],
)
def test_up_to_the_bound_choices_pass_and_what_is_no_number_is_the_replicas_to_refuse(
    body: dict[str, Any],
) -> None:
    assert build_field_rules().apply(TEXT, body) == (body, [])


@pytest.mark.parametrize("name", NEVER_DROPPED)
def test_a_field_that_changes_what_is_asked_is_refused_by_its_name(name: str) -> None:
    assert refused_param({name: "x"}) == name
    assert build_field_rules().apply(CHAT, {name: None}) == ({}, [])
    assert build_field_rules().apply(RESPONSES, {name: False}) == ({}, [])
    assert build_field_rules(added={name}).apply(CHAT, {name: "x"}) == ({name: "x"}, [])


@pytest.mark.parametrize("argument", ["chat_template", "tokenize"])
def test_arguments_of_the_template_replace_neither_it_nor_the_tokenizer(argument: str) -> None:
    assert refused_param({"chat_template_kwargs": {argument: True}}) == f"chat_template_kwargs.{argument}"


@pytest.mark.parametrize("kind", ["mcp", "web_search", "code_interpreter", "file_search", 7, {}])
def test_tools_that_the_replica_would_run_are_refused(kind: Any) -> None:
    body = {"tools": [TOOL, {"type": kind, "server_url": "http://169.254.169.254/"}]}
    assert refused_param(body, RESPONSES) == "tools[1].type"


@pytest.mark.parametrize(
    "content",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}},
        {"type": "image_url", "image_url": "https://evil.example/x.png"},
        {"image_url": "https://evil.example/x.png"},
        {"type": "video_url", "video_url": {"url": "file:///etc/passwd"}},
        {"type": "audio_url", "audio_url": {"url": "ftp://media.example/a"}},
        {"type": "text", "text": "x", "uuid": "1", "image_url": {"url": "http://evil.example"}},
        {"type": "input_image", "image_url": "gopher://x"},
        {"type": "image", "source": {"type": "url", "url": "http://evil.example/x"}},
        {"type": "tool_result", "content": [{"type": "image", "source": {"url": "http://evil.example"}}]},
        {"type": "image_url", "image_url": {"url": "http://media.example@evil.example/x"}},
        {"type": "image_url", "image_url": {"url": "http://evil.example\\@media.example/x"}},
        {"type": "image_url", "image_url": {"url": "http://media.example:80@evil.example/x"}},
        {"type": "image_url", "image_url": {"url": " http://evil.example/x"}},
        {"type": "image_url", "image_url": {"url": "http://media.example\n.evil.example/"}},
        {"type": "image_url", "image_url": {"url": "//evil.example/x"}},
        {"type": "image_embeds", "image_embeds": "AAAA"},
        {"type": "prompt_embeds", "data": "AAAA"},
        {"prompt_embeds": "AAAA"},
    ],
)
def test_media_that_the_replica_would_fetch_or_unpack_are_refused(content: dict[str, Any]) -> None:
    assert refused_param(part(content), media_hosts={"media.example"}) == "messages"
    assert refused_param({"input": [{"role": "user", "content": [content]}]}, RESPONSES) == "input"


@pytest.mark.parametrize(
    "content",
    [
        {"type": "text", "text": "see http://evil.example/x"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://Media.example/x.png?a=1#b"}},
        {"type": "image_url", "image_url": {"url": "http://media.example:8080"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ],
)
def test_media_inside_the_request_and_from_hosts_in_the_settings_pass(content: dict[str, Any]) -> None:
    assert build_field_rules(media_hosts={"media.example"}).apply(CHAT, part(content)) == (part(content), [])


def test_urls_in_the_arguments_of_a_tool_call_are_text() -> None:
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "f", "arguments": {"url": "http://a.example"}},
    }
    body = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    assert build_field_rules().apply(CHAT, body) == (body, [])


def test_names_for_a_header_are_plain_and_short() -> None:
    assert printable_names(["a", "x\r\ny: z", "é", "b.c-d_1"]) == "a, b.c-d_1"
    assert len(printable_names(["a" * 64] * 100)) <= 500


def test_what_steers_the_machine_never_reaches_a_replica_and_the_client_is_told(
    gateway: RunningGateway, two_replicas: ServingEnvironment
) -> None:
    steering = {
        "kv_transfer_params": {"remote_host": "evil.example"},
        "priority": -99,
        "request_id": "x",
        "vllm_xargs": {"a": 1},
    }
    body = {"model": "billing", "messages": ASK, "temperature": 0.5, **steering}
    answer = gateway.send("/v1/chat/completions", body)
    assert answer.status_code == 200
    assert answer.headers["x-clorad-dropped"] == "kv_transfer_params, priority, request_id, vllm_xargs"
    [asked] = [body for fake in two_replicas.replicas for _, body in fake.requests]
    assert not steering.keys() & asked.keys()
    assert asked["temperature"] == 0.5
    refused = gateway.send("/v1/chat/completions", {**body, "chat_template": "{{ 1 }}"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "chat_template")


def test_the_operator_may_refuse_other_fields_or_let_more_pass(two_replicas: ServingEnvironment) -> None:
    rules = build_field_rules(added={"priority"}, others="refuse")
    with build_gateway(two_replicas.database, fields=rules) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        body = {"model": "billing", "messages": ASK, "priority": 1}
        answer = gateway.send("/v1/chat/completions", body)
        assert answer.status_code == 200
        assert "x-clorad-dropped" not in answer.headers
        refused = gateway.send("/v1/chat/completions", {**body, "request_id": "x"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "request_id")
    assert [asked["priority"] for fake in two_replicas.replicas for _, asked in fake.requests] == [1]
