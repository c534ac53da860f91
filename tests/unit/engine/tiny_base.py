"""Builds small base models with random weights and byte-level tokenizers; nothing is downloaded."""

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from engine.adapter_weights import Adapter, Matrices
from engine.attention import Segment
from engine.base_model import PackedBatch
from engine.lesson import Lesson
from engine.recipe import Recipe
from rewards.episode import Episode, Part, SampledTokens, Weighted

FAMILIES = {
    "qwen3": Qwen3Config,
    "qwen2": Qwen2Config,
    "llama": LlamaConfig,
    "mistral": MistralConfig,
    "qwen3_moe": Qwen3MoeConfig,
}
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, and three control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*_SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(_SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=_TEMPLATE,
    )


def build_config(family: str = "qwen3", **changes: object) -> object:
    """Two layers of 32, grouped queries."""
    values = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "vocab_size": 288,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "sliding_window": None,
    }
    if family != "qwen2":
        values["head_dim"] = 8
    if family == "qwen3_moe":
        values |= {
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "norm_topk_prob": True,
        }
    return FAMILIES[family](**{**values, **changes})


def build_model(family: str = "qwen3", *, seed: int = 0, **changes: object) -> torch.nn.Module:
    """Random weights, biases too where the family has them."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(build_config(family, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.15) if parameter.ndim > 1 else parameter.add_(
                0.1 * torch.randn_like(parameter)
            )
    return model.eval()


def build_base_directory(directory: Path, family: str = "qwen3", *, seed: int = 0, **changes: object) -> Path:
    """A base model in a directory, as an operator has it."""
    build_model(family, seed=seed, **changes).save_pretrained(directory)
    build_tokenizer().save_pretrained(directory)
    return directory


QUICK = Recipe(
    rank=4,
    alpha=8.0,
    steps=4,
    steps_min=4,
    warmup_steps=2,
    learning_rate=5e-3,
    new_per_step=3,
    replay_per_step=2,
    anchors_per_step=2,
)


def build_episode(prompt: str, reply: str, *, part: Part = Part.NEW, **more: object) -> Episode:
    """A correction by default."""
    more.setdefault("events", (f"test#{part}-{prompt}-{reply}",))
    return Episode(
        part=part, messages=({"role": "user", "content": prompt},), reply=Weighted(text=reply), **more
    )


def build_sampled_tokens(reply: str, logprob: float = -1.0) -> SampledTokens:
    """The sampled tokens of a reply, one for each byte, all with the same log-probability."""
    ids = build_tokenizer()(reply, add_special_tokens=False)["input_ids"]
    return SampledTokens(token_ids=(*ids, 2), logprobs=(logprob,) * (len(ids) + 1))


def build_lesson(
    agent: str = "a", *, recipe: Recipe = QUICK, seed: int = 1, parent: Path | None = None, words: int = 4
) -> Lesson:
    """A few corrections, replays and anchors of this agent's own; lengths differ between agents."""
    pad = "x" * (sum(agent.encode()) % 7)
    episodes = tuple(
        build_episode(f"{agent} {part} {number}{pad}", f"{agent}{number * 7}{pad}", part=part)
        for part in (Part.NEW, Part.REPLAY, Part.ANCHOR)
        for number in range(words)
    )
    return Lesson(agent=agent, parent=parent, recipe=recipe, seed=seed, episodes=episodes)


def with_recipe(given: Lesson, **changes: object) -> Lesson:
    """The lesson under a changed recipe."""
    return replace(given, recipe=replace(given.recipe, **changes))


def build_packed_rows(ids: torch.Tensor) -> PackedBatch:
    """These rows of tokens (rows x length), packed; every position is wanted and no adapter takes part."""
    rows, length = ids.shape
    return PackedBatch(
        token_ids_T=ids.flatten(),
        positions_T=torch.arange(length).repeat(rows),
        segments=(Segment(length),) * rows,
        groups=(),
        wanted=range(rows * length),
    )


def build_adapter(recipe: Recipe, weights: Matrices, **more: object) -> Adapter:
    """An adapter with these weights, outside the arena."""
    values = {
        "rank": recipe.rank,
        "alpha": recipe.alpha,
        "rslora": recipe.rslora,
        "targets": recipe.targets,
        "base_hash": "b",
        "weights": weights,
    }
    return Adapter(**{**values, **more})


def copy_matrices(weights: Matrices) -> Matrices:
    """A copy of the matrices."""
    return {name: (a.clone(), b.clone()) for name, (a, b) in weights.items()}
