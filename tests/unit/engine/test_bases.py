"""What the engine would not compute exactly is refused by name; hashes say which base it is."""

from pathlib import Path

import pytest
import tiny
from transformers import AutoConfig

from engine.base_files import base_hash, tokenizer_hash
from engine.base_model import BaseRefused, load_base, refuse_unsupported


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


def test_the_hash_is_of_weights_and_configuration(tmp_path: Path):
    same = [tiny.base_directory(tmp_path / name) for name in ("a", "b")]
    other = tiny.base_directory(tmp_path / "c", seed=1)
    assert base_hash(same[0]) == base_hash(same[1]) != base_hash(other)
    assert tokenizer_hash(same[0]) == tokenizer_hash(other)
    (same[1] / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert tokenizer_hash(same[0]) != tokenizer_hash(same[1])
    assert base_hash(same[0]) == base_hash(same[1])


def test_a_directory_without_weights_has_no_hash(tmp_path: Path):
    with pytest.raises(ValueError, match="safetensors"):
        base_hash(tmp_path)
