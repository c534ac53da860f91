"""Every path answers in OpenAI's form and with a request id, whatever is asked of it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from serving.gateway.access.control import AccessControl
from serving.gateway.edge.application import EdgeApplication, Endpoint, Endpoints
from serving.gateway.edge.http_request import HttpRequest
from tests.meters import metric_increases, metric_values
from tests.unit.serving.gateway.gateway_builder import (
    LOOPBACK,
    RunningGateway,
    build_access,
    build_gateway,
    build_limits,
    wait_until,
)
from tests.unit.serving.serving_environment import ServingEnvironment, build_environment

BILLING = {"model": "billing", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with build_environment(tmp_path_factory.mktemp("edge")) as environment:
        environment.agent("billing")
        with build_gateway(environment.database, wait_s_max=0.1) as running:
            wait_until(lambda: running.document("/routing").get("agents"))
            yield running


def ask(server: RunningGateway, method: str, path: str, **given: object) -> httpx.Response:
    return httpx.request(method, server.url + path, timeout=10.0, **LOOPBACK, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nothing", 404),
        ("POST", "/v1/audio/transcriptions", 404),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/models/a/b", 404),
        ("GET", "/v1/models//", 404),
        ("GET", "/v1/chat/completions/", 404),
        ("GET", "/%ff", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("OPTIONS", "/v1/feedback", 405),
        ("POST", "/healthz", 405),
        ("PUT", "/v1/chat/completions", 405),
        ("POST", "/v1/chat/completions", 400),
        ("POST", "/v1/feedback", 400),
    ],
)
def test_an_error_on_any_path_has_openais_form_and_a_request_id(
    server: RunningGateway, method: str, path: str, status: int
) -> None:
    answer = ask(server, method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert len(answer.headers["x-request-id"]) == 32
    assert ("allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/billing", "/healthz", "/readyz", "/routing"])
def test_good_answers_have_a_request_id_too_and_each_another(server: RunningGateway, path: str) -> None:
    first, second = ask(server, "GET", path), ask(server, "HEAD", path)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert second.content == b""


def test_a_model_is_retrieved_by_its_name(server: RunningGateway) -> None:
    client = server.client()
    assert client.models.retrieve("billing").id == "billing"


def test_the_request_id_of_an_agents_answer_is_its_interaction(server: RunningGateway) -> None:
    answer = ask(server, "POST", "/v1/chat/completions", json=BILLING)
    assert answer.status_code == 503
    assert answer.headers["x-request-id"] == answer.headers["x-clorad-interaction"]


def test_refusals_are_counted_by_reason(server: RunningGateway) -> None:
    before = metric_values("clorad.gateway.refused")
    ask(server, "GET", "/nothing")
    headers = {"content-type": "application/json"}
    ask(server, "POST", "/v1/chat/completions", content=b"[", headers=headers)
    counted = {(("reason", "path"),): 1, (("reason", "body_json"),): 1}
    wait_until(lambda: metric_increases(before, "clorad.gateway.refused") == counted)


@pytest.mark.parametrize("fault", [RecursionError, ZeroDivisionError])
def test_an_endpoint_that_fails_answers_500_and_the_fault_goes_on(fault: type[Exception]) -> None:
    async def fail(_: HttpRequest) -> object:
        raise fault

    @asynccontextmanager
    async def build() -> AsyncIterator[Endpoints]:
        yield {"/": Endpoint(method="GET", answer=fail, right=None)}  # type: ignore[arg-type]

    app = EdgeApplication(build, build_limits(), AccessControl.of(build_access(), dict), threading.Event())

    async def ask_twice() -> None:
        async with build() as app._endpoints:
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                for _ in range(2):
                    answer = await client.get("/")
                    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "api_error")
                    assert answer.headers["x-request-id"]

    asyncio.run(ask_twice())


def test_large_requests_at_once_get_a_503_and_small_ones_an_answer(environment: ServingEnvironment) -> None:
    environment.agent("billing")
    limits = build_limits(bodies_bytes_max=40_000)
    with build_gateway(environment.database, limits=limits, wait_s_max=0.1) as gateway:
        wait_until(lambda: gateway.document("/routing").get("agents"))
        large = {**BILLING, "messages": [{"role": "user", "content": "x" * 50_000}]}
        answer = gateway.send("/v1/chat/completions", large)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "large" in answer.json()["error"]["message"]
        assert "no replica" in gateway.send("/v1/chat/completions", BILLING).json()["error"]["message"]
