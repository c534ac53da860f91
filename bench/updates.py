"""One update of many agents by our engine and by PEFT: same base, tokens, rank and optimizer."""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3MoeConfig
from transformers.utils import logging as transformers_logging

from engine.base_model import BaseModel
from engine.calibration import mix_below_tokens
from engine.optimizer import StepSizes, step
from engine.packer import PackingOptions, Portion, Tenant
from engine.recipe import Recipe, Term
from engine.step import Work, add_step
from engine.tokens import Sample, TargetTokens
from examples.real_base.make import REAL_BASE
from rewards.episode import Part

SMOLLM2 = "smollm2"  # a shape with the weights of a pretrained base
SHAPES: dict[str, dict[str, Any]] = {
    "64x2": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
    "256x6": {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 768},
    "1024x12": {
        "hidden_size": 1024,
        "num_hidden_layers": 12,
        "num_attention_heads": 16,
        "intermediate_size": 3072,
    },
    "qwen3-4b": {
        "hidden_size": 2560,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 9728,
        "vocab_size": 151_936,
        "tie_word_embeddings": True,
    },
    "64x2-experts": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
    },
    "qwen3-30b-a3b-half": {
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "vocab_size": 151_936,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
    },
}
"""Shapes of bases. `tiny` is `64x2`. `qwen3-30b-a3b-half` has half of the layers of Qwen3-30B-A3B and 15.6
billion parameters: so our base and PEFT's fit on one GPU together."""

SHAPES["tiny"] = SHAPES["64x2"]
VOCABULARY = 2048  # of the small shapes; all sequences use these token ids
RECIPE = Recipe(rank=8, alpha=16.0)
ATTENTION_RECIPE = replace(RECIPE, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
"""For bases with experts, which are not adapted."""
SIZES = StepSizes(learning_rate=1e-4, beta1=0.9, beta2=0.999, weight_decay=0.01, clip_norm=1.0)
TOKEN_BUDGET = {"cpu": 2048, "cuda": 16_384}
LONG = {"1x576": (512, 64), "1x4096": (3584, 512)}
"""Regimes of one sequence an agent: tokens of its prompt and of its completion."""

_LAYER = re.compile(r"\.layers\.(\d+)\.")
_BEFORE_ATTENTION = ("q_proj", "k_proj", "v_proj")

Sequences = list[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]]
"""One agent's batch: prompts, each with its completions."""


def sequences(regime: str, agent: int) -> Sequences:
    """The batch of one agent in one update."""
    chance = random.Random(f"{regime}/{agent}")

    def ids(count: int) -> tuple[int, ...]:
        return tuple(chance.randrange(VOCABULARY) for _ in range(count))

    if regime == "short":  # one sequence of 16 to 48 tokens, as where little feedback arrives
        length = chance.randint(16, 48)
        return [(ids(length // 2), (ids(length - length // 2),))]
    if regime == "b4x128":
        return [(ids(64), (ids(64),)) for _ in range(4)]
    if regime in LONG:
        prompt, completion = LONG[regime]
        return [(ids(prompt), (ids(completion),))]
    assert regime == "pairs"
    return [(ids(192), (ids(64), ids(64)))]


def model(shape: str, dtype: torch.dtype, device: torch.device) -> Any:
    """The frozen base with random weights, or the pretrained one."""
    if shape == SMOLLM2:
        transformers_logging.disable_progress_bar()
        pretrained = AutoModelForCausalLM.from_pretrained(REAL_BASE, dtype=dtype).to(device)
        pretrained.config.use_cache = False
        return pretrained.eval().requires_grad_(False)
    torch.manual_seed(0)
    small = {
        "num_key_value_heads": SHAPES[shape]["num_attention_heads"] // 2,
        "head_dim": 64,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
    }
    make_config = Qwen3MoeConfig if _has_experts(shape) else Qwen3Config
    config = make_config(**{**small, **SHAPES[shape]}, use_cache=False)
    with device:
        base: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return base.eval().requires_grad_(False)


def recipe_of(shape: str) -> Recipe:
    """The recipe that every variant trains with: on a pretrained base the default one."""
    if shape == SMOLLM2:
        return Recipe()
    return ATTENTION_RECIPE if _has_experts(shape) else RECIPE


def _has_experts(shape: str) -> bool:
    return "num_experts" in SHAPES.get(shape, {})


def _expert_weights(shape: str) -> int:
    """Weights of one layer's router and of the experts that one token goes to."""
    if not _has_experts(shape):
        return 0
    size = SHAPES[shape]
    per_expert = 3 * size["hidden_size"] * size["moe_intermediate_size"]
    return int(size["num_experts_per_tok"] * per_expert + size["num_experts"] * size["hidden_size"])


@cache
def calibrated(shape: str, dtype: torch.dtype, device: torch.device) -> PackingOptions:
    """The form that the engine's own calibration chooses on this device."""
    budget = TOKEN_BUDGET[device.type]
    base = BaseModel(model(shape, dtype, device), rank=recipe_of(shape).rank, slots=2)
    return PackingOptions(token_budget=budget, mix_below_tokens=mix_below_tokens(base, budget))


class WarmEngineUpdate:
    """Our engine, with one adapter of random weights for each agent."""

    def __init__(self, shape: str, dtype: torch.dtype, agents: int, device: torch.device) -> None:
        self.auto = calibrated(shape, dtype, device)  # before our base: calibration loads one and frees it
        self._recipe, self._expert_weights = recipe_of(shape), _expert_weights(shape)
        self.base = BaseModel(model(shape, dtype, device), rank=self._recipe.rank, slots=max(2, agents))
        self.serial = replace(self.auto, mix_below_tokens=0)
        self.unshared = replace(self.auto, share_prefixes=False)
        self.base.arena.weight.normal_(0.0, 0.02)
        for slot in range(self.base.arena.slots):
            self.base.arena.refresh(slot)

    def work(self, batches: Sequence[Sequences]) -> Work:
        return [
            (
                Tenant(slot=slot, recipe=self._recipe),
                [_portion(p, c, batch) for p, completions in batch for c in completions],
            )
            for slot, batch in enumerate(batches)
        ]

    def update(self, work: Work, form: PackingOptions) -> None:
        add_step(self.base, work, form)
        for tenant, _ in work:
            assert tenant.slot is not None
            step(self.base.arena, tenant.slot, SIZES)

    def flops(self, work: Work) -> float:
        """FLOPs of an update without shared prefixes: forward, backward to the inputs, adapters.

        Attention does not count. After the attention of the last layer only target tokens are computed.
        """
        tokens = sum(len(p.sample.prompt_ids) + len(p.sample.reply.token_ids) for _, ps in work for p in ps)
        targets = sum(len(p.sample.reply.token_ids) for _, ps in work for p in ps)
        last = max(int(_LAYER.findall(name)[0]) for name in self.base.arena.places)
        total = targets * 2 * 2 * self.base.head_VD.numel()
        total += (tokens * last + targets) * 2 * 2 * self._expert_weights
        for name, place in self.base.arena.places.items():
            targets_only = f".layers.{last}." in name and not name.endswith(_BEFORE_ATTENTION)
            linear = 2 * 2 * place.inputs * place.outputs
            adapter = 6 * self._recipe.rank * (place.inputs + place.outputs)
            total += (targets if targets_only else tokens) * (linear + adapter)
        return float(total)


class PeftUpdate:
    """PEFT with one active adapter at a time, on padded batches or one sequence after another."""

    def __init__(self, shape: str, dtype: torch.dtype, agents: int, device: torch.device) -> None:
        from peft import LoraConfig, get_peft_model  # only here: ours is measured without it too

        self.device = device
        recipe = recipe_of(shape)
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=int(recipe.alpha),
            target_modules=list(recipe.targets),
            init_lora_weights=False,
        )
        self.model = get_peft_model(model(shape, dtype, device), config, adapter_name="a0")
        for number in range(1, agents):
            self.model.add_adapter(f"a{number}", config)
        named = list(self.model.named_parameters())
        self.parameters = [[p for name, p in named if f".a{n}." in name] for n in range(agents)]
        self.optimizers = [torch.optim.AdamW(own, lr=1e-4, weight_decay=0.01) for own in self.parameters]

    def update(self, batches: Sequence[Sequences], *, padded: bool) -> None:
        for number, batch in enumerate(batches):
            self.model.set_adapter(f"a{number}")
            rows = sorted(((p, c) for p, cs in batch for c in cs), key=lambda row: len(row[0]) + len(row[1]))
            for together in [rows] if padded else [[row] for row in rows]:
                ids, mask, labels = (tensor.to(self.device) for tensor in _padded(together))
                loss = self.model(input_ids=ids, attention_mask=mask, labels=labels).loss
                (loss * len(together) / len(rows)).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters[number], 1.0)
            self.optimizers[number].step()
            self.optimizers[number].zero_grad(set_to_none=True)


def _portion(prompt: tuple[int, ...], completion: tuple[int, ...], batch: Sequences) -> Portion:
    count = sum(len(completions) for _, completions in batch)
    answer = TargetTokens(token_ids=completion, weights=(1.0 / len(completion),) * len(completion))
    sample = Sample(events=("bench#1",), part=Part.NEW, mass=1.0, prompt_ids=prompt, reply=answer)
    return Portion(sample=sample, coefficients={Term.SUPERVISED: 1.0 / count})


def _padded(
    rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(len(prompt) + len(completion) for prompt, completion in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (prompt, completion) in enumerate(rows):
        length = len(prompt) + len(completion)
        ids[row, :length], mask[row, :length] = torch.tensor((*prompt, *completion)), 1
        labels[row, len(prompt) : length] = torch.tensor(completion)
    return ids, mask, labels
