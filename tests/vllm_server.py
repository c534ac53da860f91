"""A real vLLM server for tests: a tiny random Qwen3 with a tokenizer of its own, and PEFT adapters for it.

One server serves a whole test session. `VLLM_URL` points at one that runs already and can read our files;
a test that kills servers then starts one of its own.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.kafka.broker import free_port
from deploy.vllm.server import LocalReplica, ServerOptions, ServerUnavailable

BASE_NAME = "base"

_WORDS = (
    "delete drop table users where order refund customer invoice the a an of to from and for please "
    "close open file read write print log cancel ticket amount name date id vip select count update set "
    "yes no sure sorry hello thanks note it is was be on in at by with"
)
_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_base(folder: Path, *, seed: int = 0) -> Path:
    """A random two-layer Qwen3 with tokenizer and chat template, always the same bytes for a seed."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([_WORDS, _WORDS.upper(), "system user assistant"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=_TEMPLATE
    )
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=384,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=2,
        bos_token_id=None,
        pad_token_id=0,
        initializer_range=0.2,  # far from uniform, so that adapters and positions show in the answers
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def write_adapter(folder: Path, *, seed: int, base: Path, strength: float = 0.3, rank: int = 8) -> Path:
    """A PEFT adapter on all linear layers, with B drawn at random so that it visibly changes answers."""
    import torch
    from safetensors.torch import save_file

    config = json.loads((base / "config.json").read_text())
    shapes = _linear_shapes(config)
    drawing = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (rows, columns) in shapes.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            weights[f"{prefix}.lora_A.weight"] = torch.randn(rank, columns, generator=drawing) / rank
            weights[f"{prefix}.lora_B.weight"] = torch.randn(rows, rank, generator=drawing) * strength / rank
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    adapter = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "",
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted({name.rpartition(".")[2] for name in shapes}),
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class RealVLLM:
    """A server and the base it serves."""

    url: str
    base: Path
    base_name: str
    tokens_max: int  # of its context


@pytest.fixture(scope="session")
def vllm_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base of the servers that tests start."""
    return write_base(tmp_path_factory.mktemp("vllm") / "base")


@pytest.fixture(scope="session")
def vllm_replica(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[LocalReplica | None]:
    """The session's server where we start it ourselves; None where `VLLM_URL` names one that runs already."""
    if os.environ.get("VLLM_URL"):
        yield None
        return
    replica = started(tmp_path_factory.mktemp("vllm"), request.getfixturevalue("vllm_base"))
    try:
        yield replica
    finally:
        replica.stop()


@pytest.fixture(scope="session")
def vllm(vllm_replica: LocalReplica | None) -> RealVLLM:
    """The session's server. Tests leave no adapters behind."""
    return known(vllm_replica.url if vllm_replica is not None else os.environ["VLLM_URL"])


@pytest.fixture
def killable_vllm(
    vllm_replica: LocalReplica | None, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[LocalReplica]:
    """A server that the test may kill: the session's, which runs again afterwards, or one of its own.

    A start takes half a minute of two cores, so the session's server is shared even here.
    """
    if vllm_replica is not None:
        yield vllm_replica
        vllm_replica.start()  # at once where the test started it again
        return
    own = started(tmp_path / "vllm", request.getfixturevalue("vllm_base"))
    try:
        yield own
    finally:
        own.stop()


def started(home: Path, base: Path) -> LocalReplica:
    """A server that answers. Skips where vLLM is not to be had; in CI that is a failure."""
    replica = LocalReplica(base, home, free_port(), options=ServerOptions(base_name=BASE_NAME))
    try:
        replica.start()
    except ServerUnavailable as complaint:
        replica.stop()
        if os.environ.get("CI"):
            pytest.fail(str(complaint))
        pytest.skip(str(complaint))
    return replica


def known(url: str) -> RealVLLM:
    """What a running server says of itself."""
    cards: list[dict[str, Any]] = httpx.get(f"{url}/v1/models", timeout=10.0, trust_env=False).json()["data"]
    card = next(card for card in cards if card["parent"] is None)
    return RealVLLM(url=url, base=Path(card["root"]), base_name=card["id"], tokens_max=card["max_model_len"])


def _linear_shapes(config: dict[str, int]) -> dict[str, tuple[int, int]]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    return {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
