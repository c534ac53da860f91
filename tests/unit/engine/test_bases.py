"""What the engine would not compute exactly is refused by name; hashes say which base it is."""

from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoConfig
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from engine.base_files import base_hash, tokenizer_hash
from engine.base_model import BaseRefused, load_base, refuse_unsupported
from engine.norm import FrozenRMSNorm


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (tiny.config("mistral", sliding_window=64), "sliding-window"),
        (
            tiny.config("qwen2", use_sliding_window=True, sliding_window=64, max_window_layers=1),
            "sliding-window",
        ),
        (AutoConfig.for_model("gemma2"), "gemma2.*soft-capped"),
        (AutoConfig.for_model("qwen3_moe"), "qwen3_moe.*router"),
        (
            tiny.config("llama", rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
            "rotary",
        ),
    ],
)
def test_an_unsupported_base_is_refused_by_name(config, named):
    with pytest.raises(BaseRefused, match=named):
        refuse_unsupported(config)


@pytest.mark.parametrize("family", sorted(tiny.FAMILIES))
def test_a_supported_base_loads_frozen(base_of, family):
    base = load_base(base_of(family), device="cpu", dtype="float32", rank=4, slots=2)
    assert not any(parameter.requires_grad for parameter in base._model.parameters())
    assert len(base.arena.places) == 14


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_and_its_gradient_are_the_bases_own(dtype):
    torch.manual_seed(0)
    own = Qwen3RMSNorm(32).to(dtype).requires_grad_(False)
    own.weight.normal_()
    x = torch.randn(5, 7, 32, dtype=dtype, requires_grad=True)
    grad = torch.randn(5, 7, 32, dtype=dtype)
    expected, found = own(x), FrozenRMSNorm(own)(x)
    torch.testing.assert_close(found, expected)
    (expected_grad,), (found_grad,) = (torch.autograd.grad(y, x, grad) for y in (expected, found))
    torch.testing.assert_close(found_grad, expected_grad)


def test_the_hash_is_of_weights_and_configuration(tmp_path: Path):
    same = [tiny.base_directory(tmp_path / name) for name in ("a", "b")]
    other = tiny.base_directory(tmp_path / "c", seed=1)
    assert base_hash(same[0]) == base_hash(same[1]) != base_hash(other)
    assert tokenizer_hash(same[0]) == tokenizer_hash(other)
    (same[1] / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert tokenizer_hash(same[0]) != tokenizer_hash(same[1])
    assert base_hash(same[0]) == base_hash(same[1])


def test_sizes_whose_bf16_products_leak_between_tenants_are_refused_on_a_cpu(tmp_path: Path):
    base = tiny.base_directory(tmp_path, vocab_size=272)
    with pytest.raises(BaseRefused, match=r"multiples of 32.*272"):
        load_base(base, device="cpu", dtype="bfloat16", rank=4, slots=2)
    load_base(base, device="cpu", dtype="float32", rank=4, slots=2)


def test_a_directory_without_weights_has_no_hash(tmp_path: Path):
    with pytest.raises(ValueError, match="safetensors"):
        base_hash(tmp_path)
