"""What acceptance tests share: Kafka, one replica and `clorad run`, with two agents on the example base.

As a newcomer does it, `clorad init` writes the settings file, and `clorad doctor` finds no error before the
roles run. What the example base needs beside the defaults comes from variables.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Tracer

from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.stack import ROOT, Stack, StackOptions
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
def times_s() -> dict[str, float]:
    """How long each part of the way to the first version took, in seconds, in their order."""
    return {}


@contextmanager
def timed(times_s: dict[str, float], part: str) -> Iterator[None]:
    """Record how long the block took."""
    began_s = time.monotonic()
    yield
    times_s[part] = round(time.monotonic() - began_s, 1)


@pytest.fixture(scope="package")
def stack(
    tmp_path_factory: pytest.TempPathFactory, collector: OtlpCollector, times_s: dict[str, float]
) -> Iterator[Stack]:
    """The servers and roles. They start once, and stop after the last acceptance test."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        pytest.skip("no Java or Maven here: the acceptance test needs a real broker")
    folder = tmp_path_factory.mktemp("acceptance")
    stack = Stack(StackOptions(folder=folder, agents={TEXT_AGENT: "exact", ACTING_AGENT: "auto"}))
    variables: dict[str, str] = {}
    try:
        stack.start()
        variables = {**variables_of(stack), "CLORAD_TELEMETRY__OTLP_ENDPOINT": collector.url}
        os.environ.update(variables)  # commands and roles inherit them
        with timed(times_s, "clorad init"):
            initialise(stack)
        with timed(times_s, "clorad doctor"):
            findings = json.loads(stack.run_clorad("doctor", "--json").stdout)["findings"]
        assert [finding for finding in findings if finding["severity"] == "error"] == []
        with timed(times_s, "clorad run, until the gateway answers"):
            stack.start_role("run")
            stack.wait_for_agents()
        yield stack
    finally:
        stack.stop()
        for name in variables:
            del os.environ[name]


def variables_of(stack: Stack) -> dict[str, str]:
    """The demo's settings as variables, but for what `clorad init` is told."""
    told = ("kafka.bootstrap_servers", "engine.base", "fleet.replicas", "store.path")
    values = {
        f"{section}.{name}": value
        for section, table in tomllib.loads(stack.config.read_text()).items()
        for name, value in table.items()
        if section != "agents"
    }
    values |= {
        f"agents.{agent}.{name}": value
        for agent, table in tomllib.loads(stack.config.read_text())["agents"].items()
        for name, value in table.items()
    }
    return {
        "CLORAD_" + path.replace(".", "__").upper(): value if isinstance(value, str) else json.dumps(value)
        for path, value in values.items()
        if path not in told
    }


def initialise(stack: Stack) -> None:
    """Write the settings file anew, as `clorad init` does."""
    [replica] = tomllib.loads(stack.config.read_text())["fleet"]["replicas"]
    words = ("--brokers", stack.bootstrap, "--replica", replica, "--agent", TEXT_AGENT)
    subprocess.run(
        [sys.executable, "-m", "daemon", "--config", str(stack.config), "init", "--yes", "--force", *words],
        cwd=stack.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=120,
    )


@pytest.fixture(scope="package")
def gateway(stack: Stack) -> GatewayClient:
    return GatewayClient(stack.gateway)
