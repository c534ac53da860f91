"""`bench.engine --device --shape` works, on the smallest base. No time is asserted."""

import sys

import pytest
import torch

from bench.engine import main, measure, plan_long
from bench.updates import LONG, SHAPES

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_gpu_is_measured_in_bf16_with_short_and_long_sequences() -> None:
    plan = list(plan_long("qwen3-4b", CUDA, quick=False))
    assert plan == [
        ("qwen3-4b", torch.bfloat16, "1x576", 16, False),
        ("qwen3-4b", torch.bfloat16, "1x4096", 16, False),
    ]
    assert [sum(lengths) for lengths in LONG.values()] == [576, 4096]
    assert list(plan_long("64x2", CPU, quick=True)) == [("64x2", torch.float32, "1x576", 16, False)]


def test_the_large_shape_has_the_parameters_of_qwen3_4b() -> None:
    shape = SHAPES["qwen3-4b"]
    hidden, heads = shape["hidden_size"], shape["head_dim"]
    queries, keys = shape["num_attention_heads"] * heads, shape["num_key_value_heads"] * heads
    layer = hidden * (2 * queries + 2 * keys) + 3 * hidden * shape["intermediate_size"]
    whole = shape["num_hidden_layers"] * layer + hidden * shape["vocab_size"]
    assert 4.0e9 < whole < 4.05e9


def test_every_variant_learns_from_the_same_tokens() -> None:
    rows = measure("64x2", torch.float32, "1x576", 2, only_ours=False, device=CPU)
    assert {row.variant for row in rows} == {"auto", "serial", "peft_padded", "peft"}
    assert {row.tokens for row in rows} == {2 * 576}
    assert all(row.ms_min > 0 and row.gemm_peak_fraction > 0 and row.peak_rss_mib > 0 for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_without_a_gpu_the_benchmark_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.engine", "--device", "cuda", "--shape", "qwen3-4b"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == "bench.engine: no CUDA device that torch could use here"
