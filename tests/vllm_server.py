"""A real vLLM server for tests: a tiny random Qwen3 with a tokenizer of its own, and PEFT adapters for it.

One server serves a whole test session. `VLLM_URL` points at one that runs already; it must serve a base
written by `write_base`.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.kafka.broker import free_port
from deploy.vllm.server import LocalReplica, ServerOptions

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


@contextmanager
def running_vllm(home: Path, base: Path) -> Iterator[str]:
    """The URL of a server over `base`; it is stopped afterwards unless it was there before."""
    if url := os.environ.get("VLLM_URL"):
        yield url
        return
    replica = LocalReplica(base, home, free_port(), options=ServerOptions(base_name=BASE_NAME))
    replica.start()
    try:
        yield replica.url
    finally:
        replica.stop()


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
