"""Two agents on two replicas, and a gateway in front of them."""

from collections.abc import Iterator

import pytest

from tests.unit.serving.gateway.gateway_builder import (
    RunningGateway,
    build_gateway,
    name_of,
    report_replicas,
    wait_until,
)
from tests.unit.serving.serving_environment import ServingEnvironment


@pytest.fixture
def two_replicas(environment: ServingEnvironment) -> ServingEnvironment:
    """Agent `billing` serves v1, agent `sql` the base."""
    environment.agent("billing", capture=True)
    environment.agent("sql")
    champion = environment.champion("billing")
    for _ in range(2):
        environment.replica(reply_function=name_of).adapters[champion.model] = environment.path(champion)
    report_replicas(environment)
    return environment


@pytest.fixture
def gateway(two_replicas: ServingEnvironment) -> Iterator[RunningGateway]:
    with build_gateway(two_replicas.database) as running:
        wait_until(lambda: running.get("/readyz").status_code == 200)
        yield running
