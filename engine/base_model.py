"""The frozen base: loaded once, hashed, its linears replaced by ones that know whose rows are whose.

Any Hugging Face decoder of the families below, its modelling code unmodified. What would make packed
passes inexact, or leak between tenants, is refused by name at load.

Shapes: T packed tokens, D hidden size, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from engine.arena import Arena
from engine.attention import NAME, Segment
from engine.linear import Group, MultiLoRALinear, Routing
from engine.norm import FrozenRMSNorm, is_rms_norm

_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_ROPES = frozenset(
    {"default", "linear", "llama3", "yarn"}
)  # the others depend on the longest sequence in a pass
_BLOCK_SIZE, _LEAK_FREE_SIZE = 32, 64
_TARGETS = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})


class BaseRefused(ValueError):
    """This base cannot be taught exactly; the message names what is in the way. The role does not start."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One packed forward: tokens, their positions, which sequence they continue and whose they are."""

    token_ids_T: Tensor
    positions_T: Tensor
    segments: Sequence[Segment]
    groups: tuple[Group, ...]


class BaseModel:
    """A frozen decoder whose targeted linears add each tenant's adapter to that tenant's rows."""

    def __init__(self, model: Any, *, rank: int, slots: int) -> None:
        refuse_unsupported(model.config)
        model.set_attn_implementation(NAME)
        model.requires_grad_(False)
        model.eval()
        self._model, self._decoder = model, model.base_model
        head = model.get_output_embeddings()
        if head is None or getattr(head, "bias", None) is not None:
            raise BaseRefused("an output head with a bias is not supported")
        self.head_VD: Tensor = head.weight
        self.device, self.dtype = self.head_VD.device, self.head_VD.dtype
        self.tokens_max = int(model.config.max_position_embeddings)
        self.routing = Routing()
        self.layers_checkpointed = False
        linears = _targeted(model)
        _refuse_leaky_products([linear.weight for linear in linears.values()] + [self.head_VD])
        shapes = {name: (linear.in_features, linear.out_features) for name, linear in linears.items()}
        self.arena = Arena(shapes, rank=rank, slots=slots, device=self.device, dtype=self.dtype)
        entry = torch.zeros((), device=self.device, requires_grad=True)
        for name, linear in linears.items():
            model.set_submodule(name, MultiLoRALinear(linear, name, self.arena, self.routing, entry))
        for name in [name for name, module in model.named_modules() if is_rms_norm(module)]:
            model.set_submodule(name, FrozenRMSNorm(model.get_submodule(name)))

    def hidden(self, packed: Pass) -> Tensor:
        """Last hidden states (T x D) of one packed pass; leave the model alone until `backward` is done."""
        self.routing.route(packed.groups)
        out = self._decoder(
            input_ids=packed.token_ids_T[None],
            position_ids=packed.positions_T[None],
            attention_mask=None,
            use_cache=False,
            segments=packed.segments,
        )
        hidden_TD: Tensor = out.last_hidden_state[0]
        return hidden_TD

    def checkpoint_layers(self, on: bool) -> None:
        """Keep only layer inputs for the way back and compute the rest again: less memory, more time."""
        if on:
            self._model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            self._model.gradient_checkpointing_disable()
        # transformers checkpoints in training mode only; there is no dropout that this would switch on
        self._model.train(on)
        self.layers_checkpointed = on


def load_base(base: Path, *, device: str, dtype: str, rank: int, slots: int) -> BaseModel:
    """The base of a local directory, ready to teach; raises `BaseRefused` naming what is unsupported."""
    transformers_logging.disable_progress_bar()  # a service's log is no terminal
    refuse_unsupported(AutoConfig.from_pretrained(base))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype), attn_implementation=NAME)
    return BaseModel(model.to(device), rank=rank, slots=slots)


def refuse_unsupported(config: Any) -> None:
    """Raises `BaseRefused` for what the engine does not compute exactly."""
    if config.model_type not in _FAMILIES:
        raise BaseRefused(
            f"model type {config.model_type!r} is not supported (nor are mixture-of-experts routers, "
            f"soft-capped logits and other attentions); supported: {', '.join(sorted(_FAMILIES))}"
        )
    window = getattr(config, "sliding_window", None)
    layers = set(getattr(config, "layer_types", None) or ())
    if (window is not None and not layers) or layers - {"full_attention"}:
        raise BaseRefused(f"sliding-window attention (window {window}) is not supported")
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(config, name, None) is not None:
            raise BaseRefused(f"soft-capped logits ({name}) are not supported")
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in _ROPES:
        raise BaseRefused(
            f"rotary embedding {rope!r} depends on the longest sequence of a pass: not supported"
        )


def _refuse_leaky_products(weights: Sequence[Tensor]) -> None:
    """bf16 products on CPUs (oneDNN with AMX, seen in torch 2.13) read past the end of such rows and add what
    follows times zero: not-a-number in a tenant's first row would enter its neighbour's last.
    """
    if weights[0].device.type != "cpu" or weights[0].dtype != torch.bfloat16:
        return
    for size in {size for weight in weights for size in weight.shape}:
        if size > _LEAK_FREE_SIZE and size % _BLOCK_SIZE:
            raise BaseRefused(
                f"in bfloat16 on a CPU, sizes must be multiples of {_BLOCK_SIZE} for tenants to be isolated; "
                f"this base has {size}: use float32"
            )


def _targeted(model: nn.Module) -> dict[str, nn.Linear]:
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in _TARGETS
    }
    if not found:
        raise BaseRefused(f"no linear layers named {', '.join(sorted(_TARGETS))}")
    return found
