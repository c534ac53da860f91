"""The plugins for vLLM's CPU build: rows without an adapter, experts, and waiting for messages."""

import inspect
import time
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from deploy.vllm.plugins.clorad_cpu_experts import selecting_without_lora
from deploy.vllm.plugins.clorad_cpu_lora import over_adapted_rows
from deploy.vllm.plugins.clorad_cpu_waits import NOTIFICATION_MS_MAX, sleeping_wait

WEIGHTS = torch.randn(3, 4, 2)  # slots, outputs, inputs


def plain(inputs: Tensor, weights: Tensor, output: Tensor, slot_N: Tensor, add_inputs: bool = True) -> None:
    """As vLLM's product: the index for no adapter is -1, which is the last slot."""
    assert add_inputs
    output += torch.einsum("bi, boi -> bo", inputs, weights[slot_N])


@pytest.mark.parametrize("slots", [[0, 2, 1], [-1, -1, -1], [0, -1, 2], [-1, 1, -1]])
def test_rows_without_an_adapter_stay_as_the_base_has_them(slots: list[int]) -> None:
    inputs, before = torch.randn(3, 2), torch.randn(3, 4)
    output, slot_N = before.clone(), torch.tensor(slots)
    over_adapted_rows(plain)(inputs, WEIGHTS, output, slot_N, add_inputs=True)
    for row, slot in enumerate(slots):
        added = torch.zeros(4) if slot < 0 else WEIGHTS[slot] @ inputs[row]
        torch.testing.assert_close(output[row], before[row] + added)


def test_not_a_number_in_the_last_slot_does_not_reach_the_base() -> None:
    broken = WEIGHTS.clone()
    broken[-1] = torch.nan
    output = torch.zeros(2, 4)
    over_adapted_rows(plain)(torch.randn(2, 2), broken, output, torch.tensor([0, -1]))
    assert bool(output.isfinite().all())


class Condition:
    """The part of vLLM's SpinCondition that the plugin uses."""

    busy_loop_s = 1.0

    def __init__(self, *, quiet_s: float) -> None:
        self.last_read = time.monotonic() - quiet_s
        self.waited: list[int | None] = []

    def wait(self, timeout_ms: int | None = None) -> None:
        self.waited.append(timeout_ms)


@pytest.mark.parametrize(
    ("quiet_s", "timeout_ms", "waited"),
    [(0.0, 5000, []), (5.0, 5000, [NOTIFICATION_MS_MAX]), (5.0, 7, [7]), (5.0, None, [NOTIFICATION_MS_MAX])],
)
def test_a_reader_sleeps_while_it_is_busy_and_waits_for_a_notification_only_shortly(
    quiet_s: float, timeout_ms: int | None, waited: list[int]
) -> None:
    reader = Condition(quiet_s=quiet_s)
    sleeping_wait(Condition.wait)(reader, timeout_ms=timeout_ms)
    assert reader.waited == waited


def test_vllm_still_has_the_code_that_the_plugin_changes() -> None:
    reader = pytest.importorskip("vllm.distributed.device_communicators.shm_broadcast").SpinCondition
    assert "current_time <= self.last_read + self.busy_loop_s" in inspect.getsource(reader.wait)


@dataclass(frozen=True)
class ExpertsConfig:
    """The part of vLLM's FusedMoEConfig that the plugin uses."""

    num_experts: int
    is_lora_enabled: bool


def test_experts_are_computed_as_without_lora() -> None:
    select = selecting_without_lora(lambda config: (config.num_experts, config.is_lora_enabled))
    assert select(ExpertsConfig(num_experts=8, is_lora_enabled=True)) == (8, False)
