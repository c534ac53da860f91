"""The published document is true: it names what there is, and every request that it allows is answered."""

from typing import Any

import pytest

from serving.gateway.edge.openapi import openapi_document
from tests.unit.serving.gateway.gateway_builder import RunningGateway, build_gateway, wait_until
from tests.unit.serving.serving_environment import ServingEnvironment

pytestmark = pytest.mark.slow


def test_the_document_is_published(gateway: RunningGateway) -> None:
    assert gateway.get("/openapi.json").json() == openapi_document()


def test_every_path_of_the_document_is_there_and_takes_its_method_only(gateway: RunningGateway) -> None:
    for path, methods in openapi_document()["paths"].items():
        url = path.replace("{model}", "billing")
        asked = gateway.get(url) if "post" in methods else gateway.send(url, b"")
        assert asked.status_code == 405, path
        assert asked.headers["allow"] == ("POST" if "post" in methods else "GET")


def test_every_reference_leads_to_a_schema() -> None:
    document = openapi_document()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [ref for inner in value.values() for ref in references(inner)]
        return [ref for inner in value for ref in references(inner)] if isinstance(value, list) else []

    named = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= named


@pytest.mark.timeout(120)
def test_schemathesis_finds_no_request_that_the_document_allows_and_the_gateway_fails_on(
    two_replicas: ServingEnvironment,
) -> None:
    import schemathesis  # slow to import, and no other test needs it
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import checks

    with build_gateway(two_replicas.database, wait_s_max=0.5) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
        wanted = [
            checks.not_a_server_error,
            checks.content_type_conformance,
            checks.response_schema_conformance,
            checks.status_code_conformance,
        ]
        for operation in schema.get_all_operations():

            @settings(
                max_examples=25,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.ok().as_strategy())
            def answers(case: Any) -> None:
                case.call_and_validate(checks=wanted)

            answers()
        assert gateway.get("/healthz").status_code == 200
