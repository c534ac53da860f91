"""A base with experts on vLLM's CPU build: base and adapters answer as the engine says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.fleet.replica import Replica
from tests.taught_adapter import probed, taught
from tests.unit.engine import tiny_base
from tests.vllm_server import BASE_NAME, started

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base whose first layer has no experts, of sizes that vLLM's kernels take."""
    return tiny_base.build_base_directory(
        tmp_path_factory.mktemp("experts") / "base",
        "qwen3_moe",
        hidden_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        intermediate_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=3,
        mlp_only_layers=[0],
    )


@pytest.fixture(scope="module")
def replica(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    server = started(tmp_path_factory.mktemp("experts") / "vllm", base)
    client = Replica(server.url)
    try:
        yield client
    finally:
        client.close()
        server.stop()


def test_base_and_adapters_in_one_batch_give_the_logprobs_of_the_engine(
    base: Path, replica: Replica, tmp_path: Path
) -> None:
    for what in ("cancel", "delete"):
        parity = probed(replica, BASE_NAME, *taught(base, what, tmp_path / what))
        assert parity.passed
        assert parity.tokens > parity.probes, "it says what it was taught"
        assert parity.difference_nats < 1e-4
        assert parity.base_difference_nats < 1e-4
        assert parity.distance_nats > 0.5
