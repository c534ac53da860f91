"""Each device gets the kernels that it supports, and the GPU's give the results of the plain ones."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from engine.attention import PackedAttention, Segment
from engine.kernels import FLASH, GROUPED_FLASH, PLAIN, kernels_of_gpu
from engine.recipe import Recipe
from engine.varlen import VarlenAttention
from tests.unit.engine.machines import GPU_FORMS_ON_CPU, varlen_attention_by_masks
from tests.unit.engine.tiny_engine import RECIPE, TinyEngine, build_demonstrations


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
            PackedAttention(segments, torch.device("cpu")),
            VarlenAttention(segments, torch.device("cpu"), kernel=varlen_attention_by_masks),
        )
    ]
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)
    grads = [torch.autograd.grad(answer, given_heads, grad) for answer in answers]
    for grad_of_first, grad_of_second in zip(*grads, strict=True):
        torch.testing.assert_close(grad_of_first, grad_of_second, rtol=1e-4, atol=1e-5)


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


class GroupedProducts(TorchDispatchMode):
    """Notes the operands of every grouped product."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._grouped_mm.default:
            self.seen.append(args[:2])
        return func(*args, **(kwargs or {}))


def test_operands_lie_as_the_gpus_kernel_demands():
    """Some of it torch checks on a GPU alone (2.13: `GroupMMCommon.cuh`, `GroupedMMUtils.h`).

    Tenants of odd lengths, in no order, one of them adapting less than its neighbours.
    """
    recipes = [RECIPE, Recipe(rank=4, alpha=4.0, targets=("q_proj", "down_proj")), RECIPE]
    engine = TinyEngine(recipes=recipes, rank=8, machine=replace(GPU_FORMS_ON_CPU, dtype=torch.bfloat16))
    work = [
        (
            engine.tenants[slot],
            engine.portions(engine.tenants[slot], build_demonstrations(name, 2), supervised=1.0),
        )
        for slot, name in ((2, "aaaaa"), (1, "b"), (0, "ccc"))
    ]
    with GroupedProducts() as products:
        engine.run(work)
    # of each of two layers' 4 joints: forward A, and B by linear; backward B, dB by linear, A, dA
    assert len(products.seen) == 2 * (4 + 7 + 7 + 7 + 4 + 4) - 1, "the first layer's input needs no gradient"
    for left, right in products.seen:
        assert left.dtype == right.dtype == torch.bfloat16
        for operand in (left, right):
            inner, outer = sorted(operand.stride()[-2:])
            assert operand.data_ptr() % 16 == 0
            assert inner == 1
            assert outer * operand.element_size() % 16 == 0
        if right.ndim == 2:  # the sum runs over a tenant's rows, of any number, which must lie outermost
            assert left.stride(0) == 1
            assert right.stride(1) == 1
        else:
            assert left.stride(1) == 1
