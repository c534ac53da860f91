"""Rows without an adapter are left alone, the others get what they got."""

import pytest
import torch
from torch import Tensor

from deploy.vllm.plugins.clorad_cpu_lora import skipping

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
