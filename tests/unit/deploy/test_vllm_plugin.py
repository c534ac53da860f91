"""What the plugins mend in vLLM: rows without an adapter, and waiting."""

import inspect
import time

import pytest
import torch
from torch import Tensor

from deploy.vllm.plugins.clorad_cpu_lora import skipping
from deploy.vllm.plugins.clorad_cpu_waits import RING_MS_MAX, napping

WEIGHTS = torch.randn(3, 4, 2)  # slots, outputs, inputs


def plain(inputs: Tensor, weights: Tensor, output: Tensor, slot_N: Tensor, add_inputs: bool = True) -> None:
    """As vLLM's: no adapter is slot -1, the last one."""
    assert add_inputs
    output += torch.einsum("bi, boi -> bo", inputs, weights[slot_N])


@pytest.mark.parametrize("slots", [[0, 2, 1], [-1, -1, -1], [0, -1, 2], [-1, 1, -1]])
def test_the_base_stays_the_base_beside_adapters(slots):
    inputs, before = torch.randn(3, 2), torch.randn(3, 4)
    found, slot_N = before.clone(), torch.tensor(slots)
    skipping(plain)(inputs, WEIGHTS, found, slot_N, add_inputs=True)
    for row, slot in enumerate(slots):
        added = torch.zeros(4) if slot < 0 else WEIGHTS[slot] @ inputs[row]
        torch.testing.assert_close(found[row], before[row] + added)


def test_what_was_wrong_in_the_last_slot_cannot_spread():
    broken = WEIGHTS.clone()
    broken[-1] = torch.nan
    found = torch.zeros(2, 4)
    skipping(plain)(torch.randn(2, 2), broken, found, torch.tensor([0, -1]))
    assert bool(found.isfinite().all())


class Condition:
    """What vLLM's readers wait with, as far as the plugin knows it."""

    busy_loop_s = 1.0

    def __init__(self, *, quiet_s: float) -> None:
        self.last_read = time.monotonic() - quiet_s
        self.waited: list[int | None] = []

    def wait(self, timeout_ms: int | None = None) -> None:
        self.waited.append(timeout_ms)


@pytest.mark.parametrize(
    ("quiet_s", "told", "waited"),
    [(0.0, 5000, []), (5.0, 5000, [RING_MS_MAX]), (5.0, 7, [7]), (5.0, None, [RING_MS_MAX])],
)
def test_a_reader_naps_while_it_is_busy_and_never_waits_long_for_a_ring(quiet_s, told, waited):
    reader = Condition(quiet_s=quiet_s)
    napping(Condition.wait)(reader, timeout_ms=told)
    assert reader.waited == waited


def test_what_the_plugins_mend_is_still_there_in_vllm():
    reader = pytest.importorskip("vllm.distributed.device_communicators.shm_broadcast").SpinCondition
    assert "current_time <= self.last_read + self.busy_loop_s" in inspect.getsource(reader.wait)
