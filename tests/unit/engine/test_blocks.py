"""Blocks give the results of a loop over tenants, for any lengths and slots, and rows without a tenant."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.blocks import Blocks, Group
from engine.grouped import GroupedRows

SLOTS, RANK, COLUMNS = 6, 4, 8  # grouped products want rows of whole 16 bytes
EXACT, ROUNDED = {"rtol": 1e-7, "atol": 1e-5}, {"rtol": 1e-4, "atol": 1e-3}


@st.composite
def passes(draw: st.DrawFn) -> tuple[list[Group], int]:
    slots = draw(st.permutations(range(SLOTS)))
    groups, row = [], 0
    for slot in slots[: draw(st.integers(1, SLOTS))]:
        start = row + draw(st.sampled_from([0, 0, 3]))
        row = start + draw(st.sampled_from([1, 7, 16, 16, 40, 300]))
        groups.append(Group(slot=slot, start=start, end=row, scale=1.0 + slot, targets=frozenset()))
    return groups, row + draw(st.sampled_from([0, 2]))


@pytest.mark.parametrize(
    ("blocks_type", "dtype", "tolerance"),
    [(Blocks, torch.float64, EXACT), (Blocks, torch.float32, ROUNDED), (GroupedRows, torch.float32, ROUNDED)],
)
@given(given_pass=passes())
def test_products_are_those_of_a_loop_over_tenants(blocks_type, dtype, tolerance, given_pass):
    groups, rows = given_pass
    x, a = torch.randn(rows, COLUMNS, dtype=dtype), torch.randn(SLOTS, RANK, COLUMNS, dtype=dtype)
    into, grads = torch.randn_like(x), torch.randn_like(a)
    expected, expected_grads = into.clone(), grads.clone()
    for group in groups:
        rows_of_group = slice(group.start, group.end)
        h = group.scale * x[rows_of_group] @ a[group.slot].t()
        expected[rows_of_group] += h @ a[group.slot]
        expected_grads[group.slot] += h.t() @ x[rows_of_group]
    blocks = blocks_type(groups, rows, x)
    h = blocks.scale_(blocks.product(blocks.spread(x), blocks.of(a).transpose(1, 2)))
    blocks.add_product(into, h, blocks.of(a))
    blocks.sum_product(grads, h.transpose(-2, -1), blocks.spread_once(x))
    torch.testing.assert_close(into, expected, **tolerance)
    torch.testing.assert_close(grads, expected_grads, **tolerance)


@pytest.mark.parametrize("blocks_type", [Blocks, GroupedRows])
@given(given_pass=passes(), broken=st.integers(0, SLOTS - 1))
def test_not_a_number_stays_with_its_tenant(blocks_type, given_pass, broken):
    groups, rows = given_pass
    x, a = torch.randn(rows, COLUMNS), torch.randn(SLOTS, RANK, COLUMNS)
    a[broken] = float("nan")
    into, grads = torch.zeros_like(x), torch.zeros_like(a)
    blocks = blocks_type(groups, rows, x)
    h = blocks.product(blocks.spread(x), blocks.of(a).transpose(1, 2))
    blocks.add_product(into, h, blocks.of(a))
    blocks.sum_product(grads, h.transpose(-2, -1), blocks.spread_once(x))
    for group in groups:
        assert torch.isfinite(into[group.start : group.end]).all() == (group.slot != broken)
        assert torch.isfinite(grads[group.slot]).all() == (group.slot != broken)


@pytest.mark.parametrize(
    ("lengths", "length"), [([128] * 8, 128), ([700], 700), ([16, 30, 48], 48), ([2000] + [16] * 15, 64)]
)
def test_few_cells_are_empty_and_few_tenants_are_cut(lengths, length):
    ends = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    groups = [
        Group(slot=n, start=end - rows, end=end, scale=1.0, targets=frozenset())
        for n, (rows, end) in enumerate(zip(lengths, ends, strict=True))
    ]
    assert Blocks(groups, ends[-1], torch.zeros(1)).spread(torch.zeros(ends[-1], 2)).shape[1] == length
