"""What acceptance tests share: Kafka, one replica and `clorad run`, with two agents on the example base."""

import os
import shutil
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Tracer

from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.stack import Stack, StackOptions
from tests.otlp_collector import OtlpCollector

TEXT_AGENT, ACTING_AGENT = "coder", "desk"


@pytest.fixture(scope="package")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtlpCollector]:
    """Where the roles send their traces."""
    collector = OtlpCollector(tmp_path_factory.mktemp("otlp") / "traces")
    yield collector
    collector.close()


@pytest.fixture(scope="package")
def tracer(collector: OtlpCollector) -> Iterator[Tracer]:
    """The tracer of those who send feedback."""
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("people")
    provider.shutdown()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: OtlpCollector) -> Iterator[Stack]:
    """The servers and roles. They start once, and stop after the last acceptance test."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        pytest.skip("no Java or Maven here: the acceptance test needs a real broker")
    folder = tmp_path_factory.mktemp("acceptance")
    stack = Stack(StackOptions(folder=folder, agents={TEXT_AGENT: "exact", ACTING_AGENT: "auto"}))
    os.environ["CLORAD_TELEMETRY__OTLP_ENDPOINT"] = collector.url  # the roles inherit it
    try:
        stack.start()
        stack.start_role("run")
        stack.wait_for_agents()
        yield stack
    finally:
        stack.stop()
        del os.environ["CLORAD_TELEMETRY__OTLP_ENDPOINT"]


@pytest.fixture(scope="package")
def gateway(stack: Stack) -> GatewayClient:
    return GatewayClient(stack.gateway)
