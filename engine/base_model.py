"""The frozen base: loaded once, its layers computed by ones that know whose rows are whose.

Any Hugging Face decoder of the families below. What would make packed passes inexact, or leak between
tenants, is refused by name at load.

Shapes: T packed tokens, W of them wanted, D hidden size, V vocabulary.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from engine.arena import Arena
from engine.attention import Segment
from engine.blocks import Group, RowOwners
from engine.kernels import Kernels, kernels_for
from engine.layer import JOINTS, Layer, Surroundings, norm_of, unknown_parts
from engine.linear import MultiLoRALinear
from engine.pointwise import rms_norm
from engine.repeatable import fix_workspaces

_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_ROPES = frozenset(
    {"default", "linear", "llama3", "yarn"}
)  # the others depend on the longest sequence in a pass
_BLOCK_SIZE, _LEAK_FREE_SIZE = 32, 64
_ACTIVATIONS = frozenset({"silu", "swish"})  # one function of two names
_DECODER_PARTS = frozenset({"embed_tokens", "layers", "norm", "rotary_emb"})


class BaseRefused(ValueError):
    """This base cannot be taught exactly here; the message says why. The role does not start."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One packed forward: tokens, their positions, which sequence they continue and whose they are."""

    token_ids_T: Tensor
    positions_T: Tensor
    segments: Sequence[Segment]
    groups: tuple[Group, ...]
    wanted: Sequence[int]  # rows whose last hidden state is asked for, ascending


class BaseModel:
    """A frozen decoder whose linears add each tenant's adapter to that tenant's rows.

    Takes `model` apart: it is no model any more afterwards.
    """

    def __init__(self, model: Any, *, rank: int, slots: int, kernels: Kernels | None = None) -> None:
        fix_workspaces()
        refuse_unsupported(model.config)
        head, decoder = model.get_output_embeddings(), model.base_model
        if head is None or getattr(head, "bias", None) is not None:
            raise BaseRefused("an output head with a bias is not supported")
        _refuse_unknown_parts(decoder)
        model.requires_grad_(False)
        self.head_VD: Tensor = head.weight.detach()
        self.device, self.dtype = self.head_VD.device, self.head_VD.dtype
        self.width = int(self.head_VD.shape[1])
        self.tokens_max = int(model.config.max_position_embeddings)
        named = dict(model.named_modules())
        prefixes = [name for name, module in named.items() if module in set(decoder.layers)]
        layers = [[[f"{prefix}.{name}" for name in joint] for joint in JOINTS] for prefix in prefixes]
        linears: dict[str, nn.Linear] = {
            name: named[name] for joints in layers for joint in joints for name in joint
        }
        _refuse_leaky_products([linear.weight for linear in linears.values()] + [self.head_VD])
        shapes = {name: (linear.in_features, linear.out_features) for name, linear in linears.items()}
        self.arena = Arena(
            [{name: shapes[name] for name in joint} for joints in layers for joint in joints],
            rank=rank,
            slots=slots,
            device=self.device,
            dtype=self.dtype,
        )
        self.kernels = kernels or kernels_for(self.arena, head_size=int(decoder.layers[0].self_attn.head_dim))
        self._all_rows, self._wanted_rows = (RowOwners(self.kernels.products) for _ in range(2))
        self._embeddings_VD = decoder.embed_tokens.weight
        self._rotary, self._norm = decoder.rotary_emb, norm_of(decoder.norm)
        entry = torch.zeros((), device=self.device, requires_grad=True)
        self._layers = []
        for prefix, joints in zip(prefixes, layers, strict=True):
            last = prefix == prefixes[-1]
            joined = [
                MultiLoRALinear({name: linears[name] for name in joint}, self.arena, routing, entry)
                for joint, routing in zip(joints, self._routings(last=last), strict=True)
            ]
            self._layers.append(Layer(named[prefix], joined, last=last))
            for name in chain.from_iterable(joints):  # the joints have a copy of their weights
                del linears[name], named[name]
                model.set_submodule(name, nn.Identity())

    def hidden(self, packed: PackedBatch) -> Tensor:
        """Last hidden states (W x D) of one packed pass; leave the model alone until `backward` is done."""
        self._all_rows.route(packed.groups, len(packed.token_ids_T))
        self._wanted_rows.route(_among(packed.groups, packed.wanted), len(packed.wanted))
        x_TD = self._embeddings_VD[packed.token_ids_T]
        around = self._surroundings(packed, x_TD)
        for layer in self._layers:
            x_TD = layer(x_TD, around)
        return rms_norm(x_TD, *self._norm)

    def _routings(self, *, last: bool) -> Sequence[RowOwners]:
        """Whose rows each joint of a layer computes: in the last layer all see, only the wanted answer."""
        _seeing, *answering = JOINTS
        return [self._all_rows, *([self._wanted_rows if last else self._all_rows] * len(answering))]

    def _surroundings(self, packed: PackedBatch, x_TD: Tensor) -> Surroundings:
        heads = self._layers[0].rotated_heads
        cos_THC, sin_THC = (  # one half, the other is the same; written out for every head: read in one go
            angles[0, :, None, : angles.shape[-1] // 2].expand(-1, heads, -1).contiguous()
            for angles in self._rotary(x_TD[None], packed.positions_T[None])
        )
        return Surroundings(
            attention=self.kernels.attention(packed.segments, self.device),
            cos_THC=cos_THC,
            sin_THC=sin_THC,
            wanted_W=torch.tensor(packed.wanted, device=self.device),
        )


def load_base(base: Path, *, device: str, dtype: str, rank: int, slots: int) -> BaseModel:
    """The base of a local directory, ready to teach; raises `BaseRefused` naming what is unsupported."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BaseRefused("no CUDA device that torch could use here")
    transformers_logging.disable_progress_bar()  # a service's log is no terminal
    refuse_unsupported(AutoConfig.from_pretrained(base))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    return BaseModel(model.to(device), rank=rank, slots=slots)


def refuse_unsupported(config: Any) -> None:
    """Raises `BaseRefused` for what the engine does not compute exactly."""
    if config.model_type not in _FAMILIES:
        raise BaseRefused(
            f"model type {config.model_type!r} is not supported (nor are mixture-of-experts routers, "
            f"soft-capped logits and other attentions); supported: {', '.join(sorted(_FAMILIES))}"
        )
    if config.hidden_act not in _ACTIVATIONS:
        raise BaseRefused(f"activation {config.hidden_act!r} is not supported")
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


def _refuse_unknown_parts(decoder: Any) -> None:
    found = sorted(_DECODER_PARTS ^ dict(decoder.named_children()).keys())
    for layer in [] if found else decoder.layers:
        found = found or unknown_parts(layer)
    if found:
        raise BaseRefused(
            f"the base has parts that are unknown here, or lacks known ones: {', '.join(found)}"
        )


def _among(groups: Sequence[Group], wanted: Sequence[int]) -> tuple[Group, ...]:
    """The groups' rows among the wanted ones; a group without any is left out."""
    cut = (
        replace(group, start=bisect_left(wanted, group.start), end=bisect_left(wanted, group.end))
        for group in groups
    )
    return tuple(group for group in cut if group.end > group.start)
