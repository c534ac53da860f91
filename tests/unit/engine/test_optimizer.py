"""A step of one slot equals torch's AdamW with that slot's settings."""

import pytest
import torch

from engine.arena import Arena
from engine.optimizer import StepSizes, step
from tests.unit.engine.machines import on_every_device


def build_arena(slots: int, device: str = "cpu") -> Arena:
    torch.manual_seed(0)
    rows = Arena(
        [{"l.q_proj": (24, 40), "l.v_proj": (24, 16)}],
        rank=8,
        slots=slots,
        device=torch.device(device),
        dtype=torch.float32,
    )
    rows.weight.normal_()
    return rows


@on_every_device
@pytest.mark.parametrize("clip_norm", [1e9, 0.5])
def test_each_slot_steps_as_torch_adamw_would_with_its_own_rate_and_count(clip_norm, device):
    rows = build_arena(3, device)
    starts = [row.cpu() for row in rows.weight.clone()]
    all_sizes = [
        StepSizes(learning_rate=rate, beta1=0.9, beta2=0.99, weight_decay=0.05, clip_norm=clip_norm)
        for rate in (1e-3, 1e-2, 5e-2)
    ]
    torch.manual_seed(1)
    grads = torch.randn(5, *rows.grad.shape)
    for number in range(5):
        for slot, sizes in enumerate(all_sizes):
            if number >= slot:  # the third slot takes two steps fewer
                rows.grad[slot] = grads[number, slot]
                step(rows, slot, sizes)
    for slot, sizes in enumerate(all_sizes):
        weight = torch.nn.Parameter(starts[slot])
        reference = torch.optim.AdamW(
            [weight],
            lr=sizes.learning_rate,
            betas=(sizes.beta1, sizes.beta2),
            weight_decay=sizes.weight_decay,
        )
        for number in range(slot, 5):
            weight.grad = grads[number, slot].clone()
            torch.nn.utils.clip_grad_norm_([weight], clip_norm)
            reference.step()
        torch.testing.assert_close(rows.weight[slot].cpu(), weight.detach(), rtol=1e-5, atol=1e-6)
        assert int(rows.steps[slot]) == 5 - slot


def test_a_row_of_lower_rank_keeps_its_padding_exactly_zero():
    rows = build_arena(1)
    weights = {"l.q_proj": (torch.randn(3, 24), torch.randn(40, 3))}
    rows.write(rows.weight, 0, weights)
    rows.write(rows.grad, 0, {"l.q_proj": (torch.randn(3, 24), torch.randn(40, 3))})
    used = rows.weight[0] != 0
    step(rows, 0, StepSizes(learning_rate=1e-2, beta1=0.9, beta2=0.99, weight_decay=0.1, clip_norm=1.0))
    assert torch.equal(rows.weight[0][~used], torch.zeros(int((~used).sum())))
    assert int(used.sum()) == 3 * (24 + 40)


def test_a_row_starts_aligned_so_that_every_slot_gives_the_same_bits():
    rows = build_arena(2)
    starts = [rows.places["l.q_proj"].a_start, *(place.b_start for place in rows.places.values())]
    assert all(start * 4 % 64 == 0 for start in (*starts, rows.row_floats))
