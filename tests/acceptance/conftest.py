"""What acceptance tests share: Kafka, one replica and `clorad run`, with two agents on the example base."""

import shutil
from collections.abc import Iterator

import pytest

from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.stack import Stack, StackOptions

TEXT_AGENT, ACTING_AGENT = "coder", "desk"


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The servers and roles. They start once, and stop after the last acceptance test."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        pytest.skip("no Java or Maven here: the acceptance test needs a real broker")
    folder = tmp_path_factory.mktemp("acceptance")
    stack = Stack(StackOptions(folder=folder, agents={TEXT_AGENT: "exact", ACTING_AGENT: "auto"}))
    try:
        stack.start()
        stack.start_role("run")
        stack.wait_for_agents()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="package")
def gateway(stack: Stack) -> GatewayClient:
    return GatewayClient(stack.gateway)
