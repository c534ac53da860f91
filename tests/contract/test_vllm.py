"""What clorad relies on in a vLLM server. The same tests run against the fake and against a real vLLM."""

import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon.doctor.replica_facts import ReplicaFacts
from serving.fleet.replica import Replica, ReplicaRefused, ReplicaUnavailable
from serving.fleet.replica_build import RENDERED, read_build
from serving.gateway.captured_parts import CapturedAnswer
from serving.gateway.edge.request_fields import CHAT, RESPONSES, TEXT
from serving.gateway.edge.request_fields import MESSAGES as MESSAGES_PATH
from serving.gateway.event_stream import EventDecoder
from serving.gateway.forms.answer_form import AnswerPart
from serving.gateway.forms.paths import FORMS
from tests import vllm_server
from tests.fakes.vllm import FakeVLLM

MESSAGES = [{"role": "user", "content": "refund order 42 please"}]
IDS = [40, 41, 90, 100, 33, 41, 90]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUnderTest:
    """A server and two adapters that fit its base."""

    url: str
    base: str  # the name of its base
    tokens_max: int
    adapters: tuple[Path, Path]
    missing: Path
    base_folder: Path | None = None  # of a real server

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60.0, trust_env=False)


@pytest.fixture(scope="module")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerUnderTest]:
    root = tmp_path_factory.mktemp("fake")
    folders = (root / "one", root / "two")
    for folder in folders:
        folder.mkdir()
        (folder / "adapter_config.json").write_text("{}")
    fake = FakeVLLM()
    facts = vllm_server.known(fake.url)
    yield ServerUnderTest(
        url=fake.url,
        base=facts.base_name,
        tokens_max=facts.tokens_max,
        adapters=folders,
        missing=root / "missing",
    )
    fake.kill()


@pytest.fixture
def real_server(vllm: vllm_server.RealVLLM, tmp_path: Path) -> ServerUnderTest:
    adapters = (
        vllm_server.write_adapter(tmp_path / "one", seed=1, base=vllm.base),
        vllm_server.write_adapter(tmp_path / "two", seed=2, base=vllm.base),
    )
    return ServerUnderTest(
        url=vllm.url,
        base=vllm.base_name,
        tokens_max=vllm.tokens_max,
        adapters=adapters,
        missing=tmp_path / "missing",
        base_folder=vllm.base,
    )


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.vllm)])
def server(request: pytest.FixtureRequest) -> ServerUnderTest:
    chosen: ServerUnderTest = request.getfixturevalue(f"{request.param}_server")
    return chosen


@pytest.fixture
def replica(server: ServerUnderTest) -> Iterator[Replica]:
    client = Replica(server.url)
    yield client
    for name in client.models():
        client.unload(name)
    client.close()


def test_a_fresh_server_lists_its_base_alone(replica, server):
    assert replica.ready()
    assert replica.base_name() == server.base
    assert replica.models() == frozenset()


def test_a_server_tells_its_version_and_how_it_renders_messages(replica, server):
    build = read_build(replica)
    assert build.version[0].isdigit()
    assert len(build.template) == 12
    assert read_build(replica) == build
    rendered = [server.post("/tokenize", **request, return_token_strs=True) for request in RENDERED]
    assert [answer.status_code for answer in rendered] == [200] * 3
    assert all(answer.json()["token_strs"] for answer in rendered)


def test_a_loaded_adapter_is_listed_with_its_path(replica, server):
    replica.load("a@v1-111111", str(server.adapters[0]))
    assert replica.listing().adapters == {"a@v1-111111": str(server.adapters[0])}
    assert replica.base_name() == server.base


def test_loading_twice_from_one_path_changes_nothing(replica, server):
    for _ in range(2):
        replica.load("a@v1-111111", str(server.adapters[0]))
    assert replica.models() == {"a@v1-111111"}


def test_a_name_never_gets_other_weights(replica, server):
    replica.load("a@v1-111111", str(server.adapters[0]))
    with pytest.raises(ReplicaRefused):
        replica.load("a@v1-111111", str(server.adapters[1]))
    assert replica.listing().adapters["a@v1-111111"] == str(server.adapters[0])


def test_an_adapter_that_does_not_exist_is_not_loaded(replica, server):
    with pytest.raises(ReplicaRefused):
        replica.load("a@v1-111111", str(server.missing))
    assert replica.models() == frozenset()


def test_unloading_is_safe_to_repeat(replica, server):
    replica.load("a@v1-111111", str(server.adapters[0]))
    for _ in range(2):
        replica.unload("a@v1-111111")
    assert replica.models() == frozenset()


def test_greedy_answers_repeat(replica, server):
    first, second = (replica.answer(server.base, MESSAGES, 8) for _ in range(2))
    assert first == second
    assert first.text


def test_sampled_answers_come_all_at_once(replica, server):
    samples = replica.sample(server.base, MESSAGES, 8, request={}, count=4)
    assert len(samples) == 4
    assert all(sample.text for sample in samples)


def test_an_answer_that_is_cut_short_has_the_finish_reason_length(replica, server):
    assert replica.answer(server.base, MESSAGES, 1).finish_reason == "length"


def test_a_continuation_has_the_likeliest_tokens_of_each_position(replica, server):
    continuation = replica.continuation(server.base, IDS, 4)
    assert len(continuation.token_ids) == len(continuation.likely) == 4
    for token, named in zip(continuation.token_ids, continuation.likely, strict=True):
        assert max(named, key=lambda candidate: named[candidate]) == token
        assert len(named) > 1
        assert all(value < 0.0 for value in named.values())


def test_continuations_repeat(replica, server):
    first, second = (replica.continuation(server.base, IDS, 4) for _ in range(2))
    assert first.token_ids == second.token_ids
    assert first.likely[0] == pytest.approx(second.likely[0], abs=1e-4)


def test_adapters_differ_from_the_base_and_from_each_other(replica, server):
    for name, path in zip(("a@v1-111111", "b@v1-222222"), server.adapters, strict=True):
        replica.load(name, str(path))
    names = (server.base, "a@v1-111111", "b@v1-222222")
    base, first, second = (replica.continuation(name, IDS, 1).likely[0] for name in names)
    assert _largest_difference(base, first) > 0.1
    assert _largest_difference(first, second) > 0.1


def test_many_models_are_asked_at_once(replica, server):
    replica.load("a@v1-111111", str(server.adapters[0]))
    alone = {name: replica.continuation(name, IDS, 3) for name in (server.base, "a@v1-111111")}

    def ask(place: int) -> bool:
        name = (server.base, "a@v1-111111")[place % 2]
        replica.answer(name, MESSAGES, 3)
        return _largest_difference(replica.continuation(name, IDS, 3).likely[0], alone[name].likely[0]) < 1e-3

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(24)))


def test_an_unknown_model_is_a_404_that_names_the_model(replica, server):
    with pytest.raises(ReplicaRefused) as refusal:
        replica.answer("a@v9-999999", MESSAGES, 4)
    assert refusal.value.status == 404
    answer = server.post("/v1/chat/completions", model="a@v9-999999", messages=MESSAGES).json()
    assert answer["error"]["param"] == "model"


def test_a_prompt_beyond_the_context_is_refused(replica, server):
    with pytest.raises(ReplicaRefused) as refusal:
        replica.continuation(server.base, [5] * (server.tokens_max + 1), 1)
    assert refusal.value.status == 400


def test_refusals_never_quote_what_was_asked(replica, server):
    with pytest.raises(ReplicaRefused) as refusal:
        replica.answer(server.base, [{"role": "user", "content": "a secret " * server.tokens_max}], 4)
    assert "secret" not in str(refusal.value)


def test_a_chat_answer_carries_ids_and_logprobs_when_asked(server):
    answer = server.post(
        "/v1/chat/completions",
        model=server.base,
        messages=MESSAGES,
        max_tokens=5,
        temperature=0,
        logprobs=True,
        return_token_ids=True,
    ).json()
    choice = answer["choices"][0]
    assert len(choice["token_ids"]) == len(choice["logprobs"]["content"]) == 5
    assert answer["prompt_token_ids"]


def test_a_request_that_offers_tools_is_answered(server):
    parameters = {"type": "object", "properties": {"order": {"type": "integer"}}}
    answer = server.post(
        "/v1/chat/completions",
        model=server.base,
        messages=MESSAGES,
        max_tokens=5,
        tools=[{"type": "function", "function": {"name": "refund", "parameters": parameters}}],
        return_token_ids=True,
    )
    assert answer.status_code == 200, "vLLM needs --enable-auto-tool-choice and a parser"
    assert answer.json()["choices"][0]["finish_reason"] == "length"
    assert len(answer.json()["choices"][0]["token_ids"]) == 5


def test_a_plain_chat_answer_carries_neither(server):
    answer = server.post("/v1/chat/completions", model=server.base, messages=MESSAGES, max_tokens=5).json()
    choice = answer["choices"][0]
    assert choice["logprobs"] is None
    assert choice["token_ids"] is None
    assert answer["prompt_token_ids"] is None


def test_a_text_answer_carries_ids_and_logprobs_when_asked(server):
    answer = server.post(
        "/v1/completions", model=server.base, prompt="refund", max_tokens=3, logprobs=0, return_token_ids=True
    ).json()
    choice = answer["choices"][0]
    assert len(choice["token_ids"]) == len(choice["logprobs"]["token_logprobs"]) == 3
    assert choice["prompt_token_ids"]


def test_streamed_chat_chunks_add_up_to_the_whole_answer(server):
    body = {"model": server.base, "messages": MESSAGES, "max_tokens": 6, "temperature": 0}
    extras = {"logprobs": True, "return_token_ids": True}
    whole = server.post("/v1/chat/completions", **body, **extras).json()["choices"][0]
    chunks = _streamed(server, "/v1/chat/completions", **body, **extras)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert chunks[0]["prompt_token_ids"]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == whole["message"]["content"]
    assert [token for choice in choices for token in choice.get("token_ids") or []] == whole["token_ids"]
    contents = [choice["logprobs"]["content"] for choice in choices if choice.get("logprobs")]
    rows = [row for content in contents for row in content]
    assert [row["logprob"] for row in rows] == pytest.approx(
        [row["logprob"] for row in whole["logprobs"]["content"]], abs=1e-4
    )
    assert choices[-1]["finish_reason"] == whole["finish_reason"]


def test_streamed_text_chunks_add_up_to_the_whole_answer(server):
    body = {
        "model": server.base,
        "prompt": "refund",
        "max_tokens": 6,
        "temperature": 0,
        "return_token_ids": True,
    }
    whole = server.post("/v1/completions", **body).json()["choices"][0]
    choices = [
        choice for chunk in _streamed(server, "/v1/completions", **body) for choice in chunk["choices"]
    ]
    assert "".join(choice["text"] for choice in choices) == whole["text"]
    assert [token for choice in choices for token in choice["token_ids"]] == whole["token_ids"]


def test_a_stream_has_the_usage_when_asked(server):
    chunks = _streamed(
        server,
        "/v1/chat/completions",
        model=server.base,
        messages=MESSAGES,
        max_tokens=3,
        stream_options={"include_usage": True},
    )
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES_PATH])
def test_other_apis_stream_what_they_answer_whole(server, path):
    form = FORMS[path]
    body = {"model": server.base, "input": MESSAGES, "messages": MESSAGES, "temperature": 0}
    body |= {"max_tokens": 6} if path == MESSAGES_PATH else {"max_output_tokens": 6}
    whole = form.read_answer(server.post(path, **body).content)
    decoder = EventDecoder()
    stream = server.post(path, **body, stream=True).content
    parts = [form.read_event(data) for data in decoder.feed(stream)]
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    [collected] = _captured([whole]).replies.values()
    [streamed] = _captured(parts).replies.values()
    assert streamed.text == collected.text != ""
    assert streamed.finish_reason == collected.finish_reason == "length"
    assert server.post(path, **{**body, "model": "a@v9-999999"}).status_code == 404


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_each_of_several_choices_is_captured_whole_with_the_tokens_of_the_one_prompt(server, path):
    form = FORMS[path]
    body = {"model": server.base, "temperature": 1.0, "max_tokens": 6, "n": 2}
    body |= {"messages": MESSAGES} if path == CHAT else {"prompt": "refund order"}
    asked = form.with_capture_extras(body)
    whole = form.read_answer(server.post(path, **asked).content)
    stream = server.post(path, **asked, stream=True).content
    parts = [form.read_event(data) for data in EventDecoder().feed(stream)]
    for captured in (_captured([whole]), _captured(filter(None, parts))):
        assert sorted(captured.replies) == [0, 1]
        first, second = captured.replies[0], captured.replies[1]
        assert first.prompt_ids == second.prompt_ids != []
        for reply in (first, second):
            assert reply.flaw is None
            assert 0 < len(reply.token_ids) == len(reply.logprobs) <= 6


def test_a_text_completion_is_asked_as_it_stands(replica, server):
    asked = [{"role": "user", "content": "refund order"}]
    body = {"model": server.base, "prompt": "refund order", "temperature": 0, "max_tokens": 6}
    said = replica.answer(server.base, asked, 6, request={"plain_text": True, "add_special_tokens": True})
    assert said.text == server.post(TEXT, **body).json()["choices"][0]["text"]


def test_a_path_that_a_server_lacks_is_a_404_about_no_model(server):
    answer = server.post("/v1/embeddings", model=server.base, input="x")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert server.post("/v1/messages/count_tokens", model=server.base, messages=MESSAGES).json()[
        "input_tokens"
    ]


@pytest.fixture
def facts(server: ServerUnderTest) -> Iterator[ReplicaFacts]:
    opened = ReplicaFacts(server.url, None)
    yield opened
    opened.close()


def test_what_the_doctor_asks_of_a_server(server: ServerUnderTest, facts: ReplicaFacts) -> None:
    card = facts.card()
    assert (card.name, facts.models_status(), facts.version()) == (server.base, 200, "0.32.0")
    assert facts.clock_s() == pytest.approx(time.time(), abs=5.0)
    assert facts.takes_tools(server.base)
    plain, warmer = (facts.first_logprobs(server.base, temperature=heat) for heat in (1.0, 0.25))
    assert max(abs(plain[token] - warmer[token]) for token in plain.keys() & warmer.keys()) > 0.01
    assert facts.max_loras() == 8
    assert facts.max_cpu_loras() is None, "only servers in development mode tell it"


def test_a_server_refuses_an_adapter_of_a_larger_rank_by_name(server: ServerUnderTest) -> None:
    folder = server.adapters[0].parent / "large"
    if server.base_folder is None:
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text('{"r": 32}')
    else:
        vllm_server.write_adapter(folder, seed=1, base=server.base_folder, rank=32)
    replica = Replica(server.url)
    with pytest.raises(ReplicaRefused, match="max_lora_rank"):
        replica.load("large@v1-aaaaaa", str(folder))
    replica.close()


def test_a_server_that_is_not_there_is_unavailable_soon():
    gone = FakeVLLM()
    gone.kill()
    replica = Replica(gone.url)
    assert not replica.ready()
    with pytest.raises(ReplicaUnavailable):
        replica.listing()
    replica.close()


def _captured(parts: Iterable[AnswerPart]) -> CapturedAnswer:
    captured = CapturedAnswer()
    for part in parts:
        captured.add(part.chat)
    return captured


def _largest_difference(first: dict[int, float], second: dict[int, float]) -> float:
    return max((abs(first[token] - second[token]) for token in first.keys() & second.keys()), default=99.0)


def _streamed(server: ServerUnderTest, path: str, **body: Any) -> list[dict[str, Any]]:
    with httpx.stream(
        "POST", server.url + path, json={**body, "stream": True}, timeout=60.0, trust_env=False
    ) as answer:
        assert answer.status_code == 200
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]
