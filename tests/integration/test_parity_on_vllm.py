"""The engine's probes on a real vLLM: what was trained passes, nothing else does, and traffic goes on."""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from daemon.settings import FleetSettings
from serving.fleet.replica import Replica
from tests.taught_adapter import RECIPE, Probes, asked, probed, taught
from tests.vllm_server import RealVLLM

pytestmark = pytest.mark.vllm

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def trained(vllm: RealVLLM, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Probes]:
    return taught(vllm.base, "cancel", tmp_path_factory.mktemp("parity") / "own")


@pytest.fixture
def replica(vllm: RealVLLM) -> Iterator[Replica]:
    client = Replica(vllm.url)
    yield client
    for name in client.models():
        client.unload(name)
    client.close()


def test_what_the_engine_trained_passes_within_round_off(vllm, replica, trained):
    parity = probed(replica, vllm.base_name, *trained)
    assert parity.passed
    assert parity.tokens > parity.probes, "it says what it was taught"
    assert parity.difference_nats < 1e-4
    assert parity.base_difference_nats < 1e-4
    assert parity.distance_nats > 0.5


@pytest.mark.parametrize("module", RECIPE.targets)
def test_an_adapter_that_lost_a_module_fails(vllm, replica, trained, tmp_path, module):
    own, probes = trained
    shutil.copytree(own, tmp_path / "lost")
    weights = load_file(own / WEIGHTS)
    for name, tensor in weights.items():
        if f".{module}.lora_B" in name:
            weights[name] = torch.zeros_like(tensor)
    save_file(weights, tmp_path / "lost" / WEIGHTS, metadata={"format": "pt"})
    parity = probed(replica, vllm.base_name, tmp_path / "lost", probes)
    assert parity.same_base
    assert not parity.passed
    assert parity.difference_nats > 3 * parity.allowed_nats


def test_other_weights_than_the_probed_ones_fail(vllm, replica, trained, tmp_path):
    other, _ = taught(vllm.base, "delete", tmp_path / "other")
    parity = probed(replica, vllm.base_name, other, trained[1])
    assert parity.same_base
    assert not parity.passed


def test_an_adapter_of_another_base_is_told_apart(vllm, replica, tmp_path):
    elsewhere = shutil.copytree(vllm.base, tmp_path / "elsewhere")
    weights = load_file(elsewhere / "model.safetensors")
    moved = {name: tensor + 0.3 * tensor.std() * torch.randn_like(tensor) for name, tensor in weights.items()}
    save_file(moved, elsewhere / "model.safetensors", metadata={"format": "pt"})
    parity = probed(replica, vllm.base_name, *taught(elsewhere, "cancel", tmp_path / "foreign"))
    assert not parity.same_base
    assert not parity.passed


def test_the_base_beside_as_many_adapters_as_are_ever_loaded_is_the_base(vllm, replica, trained):
    own, probes = trained
    models = [f"a@v{number}-888888" for number in range(1, FleetSettings().adapters_max + 1)]
    for model in models:
        replica.load(model, str(own))
    for model in (models[0], models[-1]):
        parity = asked(replica, vllm.base_name, model, probes)
        assert parity.passed
        assert parity.base_difference_nats < 1e-4


def test_probes_beside_traffic_harm_nobody(vllm, replica, trained):
    own, probes = trained
    model, over = "a@v1-777777", threading.Event()
    replica.load(model, str(own))
    answered = []

    def chat(name: str) -> None:
        while not over.is_set():
            answered.append(replica.answer(name, [{"role": "user", "content": "new order 41 please"}], 16))

    with ThreadPoolExecutor(8) as pool:
        chatting = [pool.submit(chat, name) for name in (vllm.base_name, model) * 2]
        try:
            probing = [pool.submit(asked, replica, vllm.base_name, model, probes) for _ in range(4)]
            parities = [future.result() for future in probing]
        finally:
            over.set()  # else the pool would wait for ever for those who chat
    assert [future.exception() for future in chatting] == [None] * 4
    assert all(parity.passed for parity in parities)
    assert len(answered) > 4
    assert replica.ready()
