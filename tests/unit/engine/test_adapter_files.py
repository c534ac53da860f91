"""Version directories: PEFT reads them, a rename publishes them whole, their hash is of the content."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from bench.machine import resident_memory_mib
from engine.adapter_files import VersionTaken, content_hash, damaged_files, files_of, publish
from engine.adapter_weights import AdapterRefused, Matrices, read_adapter, write_adapter
from engine.manifest import Manifest, read_manifest, write_manifest
from engine.recipe import Recipe
from tests.unit.engine import peft_reference, tiny_base
from tests.unit.engine.measurements import build_metrics
from tests.unit.engine.tiny_engine import RECIPE, TinyEngine, assert_same_logprobs


def moments(weights: Matrices) -> dict[str, object]:
    return {"first": tiny_base.copy_matrices(weights), "second": tiny_base.copy_matrices(weights), "steps": 7}


@pytest.mark.parametrize(
    "recipe", [RECIPE, Recipe(rank=4, alpha=4.0, rslora=True, targets=("q_proj", "v_proj"))]
)
def test_peft_loads_a_version_and_gives_the_same_logprobs(tmp_path: Path, recipe: Recipe):
    engine = TinyEngine(recipes=[recipe])
    write_adapter(engine.slots.copy(0, recipe), tmp_path)
    model = PeftModel.from_pretrained(tiny_base.build_model(), tmp_path).eval()
    assert_same_logprobs(engine, model)


def test_peft_would_write_the_same_tensors_under_the_same_names(tmp_path: Path):
    engine = TinyEngine(recipes=[RECIPE])
    write_adapter(engine.slots.copy(0, RECIPE), tmp_path / "ours")
    PeftModel.from_pretrained(tiny_base.build_model(), tmp_path / "ours").save_pretrained(
        tmp_path / "theirs", save_embedding_layers=False
    )
    ours, theirs = (load_file(tmp_path / by / "adapter_model.safetensors") for by in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_reading_versions_again_and_again_takes_no_memory(tmp_path: Path):
    engine = TinyEngine(recipes=[RECIPE])
    write_adapter(
        replace(engine.slots.copy(0, RECIPE), **moments(engine.slots.copy(0, RECIPE).weights)), tmp_path
    )

    def growth_mib() -> float:
        before = resident_memory_mib()
        for _ in range(400):
            read_adapter(tmp_path)
        return resident_memory_mib() - before

    growth_mib()  # the heap finds its size
    assert growth_mib() < 1.0


def test_an_adapter_made_by_peft_can_be_read(tmp_path: Path):
    engine = TinyEngine(recipes=[RECIPE])
    peft_reference.build_peft_model(tiny_base.build_model(), engine.adapters[0]).save_pretrained(tmp_path)
    adapter = read_adapter(tmp_path)
    assert adapter.base_hash is None
    assert adapter.steps == 0
    assert adapter.rank == 8
    for name, (a, b) in engine.adapters[0].weights.items():
        assert torch.equal(adapter.weights[name][0], a)
        assert torch.equal(adapter.weights[name][1], b)


def test_an_adapter_is_read_back_to_the_bit(tmp_path: Path):
    engine = TinyEngine(recipes=[RECIPE])
    adapter = tiny_base.build_adapter(
        RECIPE, engine.adapters[0].weights, **moments(engine.adapters[0].weights)
    )
    write_adapter(adapter, tmp_path)
    read_back = read_adapter(tmp_path)
    assert (read_back.rank, read_back.alpha, read_back.steps, read_back.base_hash) == (8, 16.0, 7, "b")
    assert read_back.first is not None
    for name, (a, _) in adapter.weights.items():
        assert torch.equal(read_back.first[name][0], a)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = pissa"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights = pissa_niter_4"),
        ({"init_lora_weights": "olora"}, "init_lora_weights = olora"),
        ({"init_lora_weights": "corda", "corda_config": {"corda_method": "kpm"}}, "corda"),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "loftq"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"target_parameters": ["experts.w1"]}, "target_parameters"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"use_qalora": True}, "use_qalora"),
        ({"a_setting_of_tomorrow": "x"}, "a_setting_of_tomorrow"),
        ({"task_type": "SEQ_CLS"}, "task_type"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
def test_an_adapter_that_cannot_be_continued_is_refused_by_name(
    tmp_path: Path, change: dict[str, object], named: str
):
    engine = TinyEngine(recipes=[RECIPE])
    write_adapter(engine.adapters[0], tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(AdapterRefused, match=named):
        read_adapter(tmp_path)


@pytest.mark.parametrize("start", [True, False, "gaussian", "orthogonal"])
def test_every_setting_that_peft_writes_is_understood(tmp_path: Path, start: bool | str):
    config = LoraConfig(r=4, task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=start)
    get_peft_model(tiny_base.build_model(), config).save_pretrained(tmp_path, save_embedding_layers=False)
    assert read_adapter(tmp_path).rank == 4


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_that_is_right_only_over_a_changed_base_is_refused(tmp_path: Path, start: str):
    config = LoraConfig(r=4, task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=start)
    get_peft_model(tiny_base.build_model(), config).save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(AdapterRefused, match=f"init_lora_weights = {start}"):
        read_adapter(tmp_path)


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors"]
)
def test_a_version_that_is_damaged_or_not_whole_is_refused_by_name(tmp_path: Path, name: str):
    engine = TinyEngine(recipes=[RECIPE])
    directory = tmp_path / "v3-0a1b2c"
    write_adapter(engine.slots.copy(0, RECIPE), directory)
    (directory / name).write_bytes(b"\xfftorn")
    with pytest.raises(AdapterRefused, match="v3-0a1b2c cannot be read"):
        read_adapter(directory)
    (directory / name).unlink()
    if not name.startswith("optimizer"):
        with pytest.raises(AdapterRefused, match="v3-0a1b2c lacks"):
            read_adapter(directory)


def test_a_version_that_a_newer_clorad_wrote_is_refused_with_a_reason(tmp_path: Path) -> None:
    directory = draft(tmp_path / "v3-0a1b2c")
    manifest = directory / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(AdapterRefused, match="v3-0a1b2c has format 99, this clorad reads formats 1 to"):
        read_adapter(directory)


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "new_embeddings.safetensors", "adapter_model.bin", ".hidden"]
)
def test_a_file_that_the_manifest_does_not_name_is_noticed(tmp_path: Path, name: str) -> None:
    directory = draft(tmp_path / "v3-0a1b2c")
    assert damaged_files(directory) == ()
    (directory / name).write_text("{}")
    assert damaged_files(directory) == (name,)


def test_what_nfs_keeps_of_an_open_file_is_no_damage(tmp_path: Path) -> None:
    directory = draft(tmp_path / "v3-0a1b2c")
    (directory / ".nfs0000000000000001").write_text("")
    assert damaged_files(directory) == ()


def test_a_store_that_is_away_is_no_fault_of_the_version(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_adapter(tmp_path / "store" / "billing" / "v3-0a1b2c")


def test_tensors_that_are_not_loras_are_refused(tmp_path: Path):
    engine = TinyEngine(recipes=[RECIPE])
    write_adapter(engine.adapters[0], tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    save_file({**load_file(weights), "base_model.model.lm_head.weight": torch.zeros(2)}, weights)
    with pytest.raises(AdapterRefused, match="lm_head"):
        read_adapter(tmp_path)


def draft(directory: Path, *, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    weights = {"l.q_proj": (torch.randn(8, 4), torch.randn(4, 8))}
    write_adapter(tiny_base.build_adapter(RECIPE, weights, **moments(weights)), directory)
    files = files_of(directory)
    manifest = Manifest(
        agent="a",
        version="v1",
        parent=None,
        base_hash="b",
        tokenizer_hash="t",
        turn="1",
        pass_id="2",
        events={"new": ["s#1"]},
        recipe={},
        seed=seed,
        metrics=build_metrics(),
        files=files.sha256,
        content_hash=files.content_hash,
        probes=(),
    )
    write_manifest(directory, manifest)
    return directory


def test_publishing_moves_the_whole_draft_at_once(tmp_path: Path):
    final = publish(draft(tmp_path / ".draft-1"), tmp_path / "a" / "v1")
    assert not (tmp_path / ".draft-1").exists()
    assert read_manifest(final).content_hash == content_hash(final)
    assert damaged_files(final) == ()


def test_publishing_the_same_content_again_adopts_what_is_there(tmp_path: Path):
    final = publish(draft(tmp_path / ".draft-1"), tmp_path / "v1")
    before = (final / "manifest.json").stat().st_mtime_ns
    assert publish(draft(tmp_path / ".draft-2"), tmp_path / "v1") == final
    assert not (tmp_path / ".draft-2").exists()
    assert (final / "manifest.json").stat().st_mtime_ns == before


def test_other_content_under_a_taken_name_is_not_published(tmp_path: Path):
    publish(draft(tmp_path / ".draft-1"), tmp_path / "v1")
    with pytest.raises(VersionTaken):
        publish(draft(tmp_path / ".draft-2", seed=1), tmp_path / "v1")


def test_the_hash_is_of_content_alone(tmp_path: Path):
    first, second, other = draft(tmp_path / "x"), draft(tmp_path / "y"), draft(tmp_path / "z", seed=1)
    (first / "manifest.json").write_text("{}")
    assert content_hash(first) == content_hash(second) != content_hash(other)


def test_a_damaged_file_is_named_and_dropped_optimizer_state_is_no_damage(tmp_path: Path):
    version = draft(tmp_path / "v1")
    (version / "optimizer.safetensors").unlink()
    assert damaged_files(version) == ()
    with pytest.raises(ValueError, match=r"lacks optimizer\.safetensors"):
        content_hash(version)
    weights = version / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert damaged_files(version) == ("adapter_model.safetensors",)
