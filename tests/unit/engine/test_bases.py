"""Supported bases give the modelling code's numbers, others are refused; hashes identify a base."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm, apply_rotary_pos_emb

from engine.base_files import base_hash, tokenizer_hash
from engine.base_model import BaseModel, BaseRefused, load_base, refuse_unsupported
from engine.pointwise import gate, rms_norm, rotate
from tests.unit.engine import tiny_base


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (tiny_base.build_config("mistral", sliding_window=64), "sliding-window"),
        (
            tiny_base.build_config("qwen2", use_sliding_window=True, sliding_window=64, max_window_layers=1),
            "sliding-window",
        ),
        (AutoConfig.for_model("gemma2"), "gemma2.*soft-capped"),
        (AutoConfig.for_model("qwen2_moe"), "qwen2_moe.*shared experts"),
        (AutoConfig.for_model("mixtral"), "mixtral.*other routers"),
        (tiny_base.build_config("llama", hidden_act="gelu"), "activation 'gelu'"),
        (
            tiny_base.build_config(
                "llama", rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
            ),
            "rotary",
        ),
    ],
)
def test_an_unsupported_base_is_refused_by_name(config, named):
    with pytest.raises(BaseRefused, match=named):
        refuse_unsupported(config)


@pytest.mark.parametrize("family", sorted(tiny_base.FAMILIES))
def test_a_supported_base_has_a_place_for_each_of_its_linears(base_of, family):
    base = load_base(base_of(family), device="cpu", dtype="float32", rank=4, slots=2)
    assert len(base.arena.places) == (8 if family == "qwen3_moe" else 14)


@pytest.mark.parametrize("family", sorted(tiny_base.FAMILIES))
def test_hidden_states_equal_those_of_the_modelling_code(family):
    model, ids = _with_ids(family)
    expected = _modelled(model, ids)
    torch.testing.assert_close(_passed(model, ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", sorted(tiny_base.FAMILIES))
def test_in_bf16_a_pass_is_as_near_to_the_exact_answer_as_the_modelling_code(family):
    model, ids = _with_ids(family)
    model = model.to(torch.bfloat16)
    exact = _modelled(deepcopy(model).float(), ids)
    modelling_error = torch.linalg.vector_norm(_modelled(model, ids) - exact)
    engine_error = torch.linalg.vector_norm(_passed(model, ids) - exact)
    assert 0.0 < engine_error < 1.1 * modelling_error


def _with_ids(family):
    torch.manual_seed(0)
    return tiny_base.build_model(family), torch.randint(288, (2, 21))


@torch.no_grad()
def _modelled(model, ids):
    return model.base_model(input_ids=ids).last_hidden_state.flatten(0, 1)


@torch.no_grad()
def _passed(model, ids):
    return BaseModel(model, rank=4, slots=2).hidden(tiny_base.build_packed_rows(ids))


def test_a_layer_with_a_part_the_engine_does_not_know_is_refused_by_name():
    model = tiny_base.build_model()
    model.model.layers[1].self_attn.v_norm = torch.nn.Identity()
    with pytest.raises(BaseRefused, match="v_norm"):
        BaseModel(model, rank=4, slots=2)


def norms(x, angles):
    own = Qwen3RMSNorm(32).to(x.dtype).requires_grad_(False)
    own.weight.copy_(torch.linspace(-2.0, 2.0, 32))
    return own(x), rms_norm(x, own.weight, own.variance_epsilon)


def rotations(x, angles):
    cos, sin = (torch.cat([values, values], -1).to(x.dtype) for values in (angles.cos(), angles.sin()))
    expected, _ = apply_rotary_pos_emb(x, x, cos, sin)
    half = [values[:, None, :16].expand(-1, 7, -1) for values in (cos, sin)]
    return expected, rotate(x, *half)


def gates(x, angles):
    left, right = x.chunk(2, -1)
    return torch.nn.functional.silu(left) * right, gate(x)


@pytest.mark.parametrize("expected_and_actual", [norms, rotations, gates])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pointwise_operations_and_their_gradients_equal_the_modelling_code(dtype, expected_and_actual):
    torch.manual_seed(0)
    x = torch.randn(5, 7, 32, dtype=dtype, requires_grad=True)
    expected, actual = expected_and_actual(x, torch.rand(5, 16))
    grad = torch.randn_like(expected)
    tolerance = {"rtol": 2e-2, "atol": 1e-2} if dtype == torch.bfloat16 else {}  # rounded at other places
    torch.testing.assert_close(actual, expected, **tolerance)
    (expected_grad,), (actual_grad,) = (torch.autograd.grad(y, x, grad) for y in (expected, actual))
    torch.testing.assert_close(actual_grad, expected_grad, **tolerance)


def test_the_hash_is_of_weights_and_configuration(tmp_path: Path):
    same = [tiny_base.build_base_directory(tmp_path / name) for name in ("a", "b")]
    other = tiny_base.build_base_directory(tmp_path / "c", seed=1)
    assert base_hash(same[0]) == base_hash(same[1]) != base_hash(other)
    assert tokenizer_hash(same[0]) == tokenizer_hash(other)
    (same[1] / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert tokenizer_hash(same[0]) != tokenizer_hash(same[1])
    assert base_hash(same[0]) == base_hash(same[1])


def test_sizes_whose_bf16_products_leak_between_tenants_are_refused_on_a_cpu(tmp_path: Path):
    base = tiny_base.build_base_directory(tmp_path, vocab_size=272)
    with pytest.raises(BaseRefused, match=r"multiples of 32.*272"):
        load_base(base, device="cpu", dtype="bfloat16", rank=4, slots=2)
    load_base(base, device="cpu", dtype="float32", rank=4, slots=2)


def test_a_directory_without_weights_has_no_hash(tmp_path: Path):
    with pytest.raises(ValueError, match="safetensors"):
        base_hash(tmp_path)
