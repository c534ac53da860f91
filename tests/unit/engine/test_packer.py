"""Packed batches have every sequence whole, shared beginnings once, and at most the budget of tokens."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.packer import MicroBatch, PackingOptions, Portion, Tenant, pack
from engine.prefix_tree import SHARED_TOKENS_MIN, Layout, PrefixTree
from engine.recipe import Term
from engine.tokens import Sample, TargetTokens
from rewards.episode import Part
from tests.unit.engine.tiny_engine import RECIPE

SEQUENCES = st.lists(
    st.lists(st.integers(0, 1), min_size=1, max_size=3).map(
        lambda bits: tuple(b for b in bits for _ in range(9))
    ),
    min_size=1,
    max_size=8,
)


def sample(prompt: tuple[int, ...], *answers: tuple[int, ...]) -> Sample:
    targets = [TargetTokens(token_ids=ids, weights=(1 / len(ids),) * len(ids)) for ids in answers]
    return Sample(
        events=("s#1",),
        part=Part.NEW,
        mass=1.0,
        prompt_ids=prompt,
        reply=targets[0],
        rejected=targets[1] if len(targets) > 1 else None,
    )


def tokens_before(batch: MicroBatch, row: int) -> list[int]:
    """The tokens that the row of a pass attends to, in order."""
    starts = [0]
    for segment in batch.packed.segments:
        starts.append(starts[-1] + segment.length)
    index = next(i for i in range(len(starts) - 1) if starts[i] <= row < starts[i + 1])
    rows = [r for i in batch.packed.segments[index].prefix for r in range(starts[i], starts[i + 1])]
    rows += range(starts[index], row + 1)
    assert [int(batch.packed.positions_T[r]) for r in rows] == list(range(len(rows)))
    return [int(batch.packed.token_ids_T[r]) for r in rows]


@given(SEQUENCES, st.booleans())
def test_rows_of_a_tree_give_every_sequence_whole(sequences, share):
    tree, layout = PrefixTree(share=share), Layout()
    for sequence in sequences:
        before, expected = tree.tokens, tree.missing(sequence)
        tree.add(sequence)
        assert tree.tokens - before == expected
    tree.lay_out(layout)
    assert len(layout.token_ids) == tree.tokens == sum(segment.length for segment in layout.segments)
    for sequence in sequences:
        rows = tree.rows(sequence)
        assert tuple(layout.token_ids[row] for row in rows) == sequence
        assert [layout.positions[row] for row in rows] == list(range(len(sequence)))
    if not share:
        assert tree.tokens == sum(len(sequence) for sequence in sequences)


@given(
    st.lists(st.tuples(SEQUENCES, SEQUENCES), min_size=1, max_size=3),
    st.sampled_from([1, 40, 100, 1000]),
    st.booleans(),
    st.sampled_from([0, 60, 10_000]),
)
def test_every_target_is_predicted_from_its_own_context_and_no_batch_exceeds_the_budget(
    tenants, token_budget, share, mix_below
):
    packing = PackingOptions(token_budget=token_budget, mix_below_tokens=mix_below, share_prefixes=share)
    work = [
        (
            Tenant(slot=slot, recipe=RECIPE),
            [
                Portion(sample=sample(p, a, (*a, 1)), coefficients={Term.SUPERVISED: 1.0})
                for p, a in zip(prompts, answers, strict=False)
            ],
        )
        for slot, (prompts, answers) in enumerate(tenants)
    ]
    batches = pack(work, packing, torch.device("cpu"))
    count = 0
    for batch in batches:
        portions = [portion_placed for _, placed in batch.placed for portion_placed in placed]
        assert batch.tokens <= token_budget or len(portions) == 1
        assert [group.end for group in batch.packed.groups[:-1]] == [g.start for g in batch.packed.groups[1:]]
        for (tenant, placed), group in zip(batch.placed, batch.packed.groups, strict=True):
            assert group.slot == tenant.slot
            for portion_placed in placed:
                count += 1
                for answer, (start, end) in zip(
                    portion_placed.portion.sample.answers, portion_placed.ranges, strict=True
                ):
                    assert tuple(batch.target_N[start:end].tolist()) == answer.token_ids
                    for offset, wanted in enumerate(batch.row_N[start:end].tolist()):
                        row = batch.packed.wanted[wanted]
                        expected = [*portion_placed.portion.sample.prompt_ids, *answer.token_ids[:offset]]
                        assert tokens_before(batch, row) == expected
                        assert group.start <= row < group.end
    assert count == sum(len(portions) for _, portions in work)


@pytest.mark.parametrize(("portions", "sizes"), [(8, [160]), (12, [120, 120]), (17, [120, 100, 120])])
def test_batches_are_as_few_as_the_budget_allows_and_of_about_equal_size(portions, sizes):
    work = [
        (Tenant(slot=0, recipe=RECIPE), [Portion(sample=sample((n,) * 10, (1,) * 11))])
        for n in range(portions)
    ]
    batches = pack(work, PackingOptions(token_budget=160, mix_below_tokens=160), torch.device("cpu"))
    assert [batch.tokens for batch in batches] == sizes


def test_answers_to_one_prompt_stay_together_where_the_budget_allows():
    prompts = [tuple(range(n, n + 30)) for n in (0, 100, 200)]
    portions = [Portion(sample=sample(prompt, (n, 3) * 10)) for prompt in prompts for n in (1, 2)]
    packing = PackingOptions(token_budget=110, mix_below_tokens=0)
    batches = pack([(Tenant(slot=0, recipe=RECIPE), portions)], packing, torch.device("cpu"))
    assert [batch.tokens for batch in batches] == [30 + 19 + 19] * 3


def test_a_small_tenant_is_not_cut():
    work = [
        (Tenant(slot=n, recipe=RECIPE), [Portion(sample=sample((n, m) * 5, (1,) * 6)) for m in range(3)])
        for n in range(5)
    ]
    batches = pack(work, PackingOptions(token_budget=180, mix_below_tokens=180), torch.device("cpu"))
    assert [[len(placed) for _, placed in batch.placed] for batch in batches] == [[3, 3, 3], [3, 3]]


def test_a_common_system_prompt_is_computed_once_for_an_agent_and_once_for_each_other():
    system = tuple(range(100))
    portions = [Portion(sample=sample((*system, 200 + n, 7), (1, 2, 3))) for n in range(5)]
    work = [(Tenant(slot=slot, recipe=RECIPE), portions) for slot in (0, 1)]
    (batch,) = pack(work, PackingOptions(token_budget=4096, mix_below_tokens=4096), torch.device("cpu"))
    assert batch.tokens == 2 * (100 + 5 * 4)


def test_a_conversation_shares_its_earlier_turns():
    first, reply, more = tuple(range(50)), tuple(range(60, 90)), tuple(range(100, 130))
    portions = [
        Portion(sample=sample(first, (*reply, 2))),
        Portion(sample=sample((*first, *reply, *more), (5, 2))),
    ]
    (batch,) = pack(
        [(Tenant(slot=0, recipe=RECIPE), portions)],
        PackingOptions(token_budget=4096, mix_below_tokens=0),
        torch.device("cpu"),
    )
    assert batch.tokens == 50 + 30 + 30 + 1
    assert len(batch.packed.segments) == 1


def test_a_turn_that_was_answered_twice_divides_the_conversation_there():
    first, reply, more = tuple(range(50)), tuple(range(60, 90)), tuple(range(100, 130))
    portions = [
        Portion(sample=sample(first, (*reply, 2), (*range(200, 230), 2))),
        Portion(sample=sample((*first, *reply, *more), (5, 2))),
    ]
    (batch,) = pack(
        [(Tenant(slot=0, recipe=RECIPE), portions)],
        PackingOptions(token_budget=4096, mix_below_tokens=0),
        torch.device("cpu"),
    )
    assert batch.tokens == 50 + (30 + 30 + 1) + 30
    assert [segment.length for segment in batch.packed.segments] == [50, 61, 30]


def test_too_little_in_common_is_not_worth_a_segment():
    tree = PrefixTree(share=True)
    short = tuple(range(SHARED_TOKENS_MIN - 1))
    tree.add((*short, 100, 101))
    tree.add((*short, 200, 201))
    assert tree.tokens == 2 * (len(short) + 2)
