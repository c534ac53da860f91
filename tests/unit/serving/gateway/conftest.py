"""A world of two agents on two replicas, and a gateway in front of it."""

from collections.abc import Iterator

import pytest

from tests.unit.serving.gateway.gateway_builder import (
    RunningGateway,
    build_gateway,
    name_of,
    report_replicas,
    wait_until,
)
from tests.unit.serving.scene import Scene


@pytest.fixture
def world(scene: Scene) -> Scene:
    """Agent `billing` serves v1, agent `sql` the base."""
    scene.agent("billing", capture=True)
    scene.agent("sql")
    champion = scene.champion("billing")
    for _ in range(2):
        scene.replica(brain=name_of).adapters[champion.model] = scene.path(champion)
    report_replicas(scene)
    return scene


@pytest.fixture
def gateway(world: Scene) -> Iterator[RunningGateway]:
    with build_gateway(world.database) as running:
        wait_until(lambda: running.get("/readyz").status_code == 200)
        yield running
