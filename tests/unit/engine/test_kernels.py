"""A device is given the kernels it has, and what the GPU's are given means what the plain ones compute."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from machines import written_out

from engine.attention import PackedAttention, Segment
from engine.kernels import FLASH, GROUPED_FLASH, PLAIN, kernels_of_gpu
from engine.varlen import VarlenAttention


@st.composite
def forests(draw: st.DrawFn) -> list[Segment]:
    """Segments that continue earlier ones, as a prefix tree lays them out."""
    segments: list[Segment] = []
    for index in range(draw(st.integers(1, 6))):
        parent = draw(st.none() | st.integers(0, index - 1)) if index else None
        prefix = () if parent is None else (*segments[parent].prefix, parent)
        segments.append(Segment(draw(st.integers(1, 20)), prefix))
    return segments


@given(forests())
def test_all_segments_in_one_launch_see_what_each_sees_alone(segments):
    torch.manual_seed(0)
    rows = sum(segment.length for segment in segments)
    given_heads = [torch.randn(rows, heads, 8, requires_grad=True) for heads in (4, 2, 2)]
    grad = torch.randn(rows, 4, 8)
    answers = [
        attend(*given_heads, scaling=0.3)
        for attend in (
            PackedAttention(segments),
            VarlenAttention(segments, torch.device("cpu"), kernel=written_out),
        )
    ]
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)
    grads = [torch.autograd.grad(answer, given_heads, grad) for answer in answers]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("capability", "dtype", "grouped", "head_size", "kernels"),
    [
        ((9, 0), torch.bfloat16, True, 128, GROUPED_FLASH),
        ((10, 0), torch.bfloat16, True, 64, GROUPED_FLASH),
        ((9, 0), torch.bfloat16, False, 128, FLASH),  # a rank or width that is no multiple of 8
        ((8, 0), torch.bfloat16, True, 128, FLASH),
        ((7, 5), torch.bfloat16, True, 128, PLAIN),
        ((9, 0), torch.bfloat16, True, 100, PLAIN),
        ((9, 0), torch.float32, True, 128, PLAIN),
    ],
)
def test_a_gpu_is_given_the_kernels_it_has(capability, dtype, grouped, head_size, kernels):
    assert kernels_of_gpu(capability, dtype, grouped=grouped, head_size=head_size) is kernels
