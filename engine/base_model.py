"""The frozen base model, loaded once; its layers apply each tenant's adapter to that tenant's rows only.

It supports Hugging Face decoders of the families below. A model that would make packed passes inexact, or mix
tenants, is refused when it is loaded, and the message names the reason.

Shapes: T packed tokens, W of them wanted, D hidden size, V vocabulary.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
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
from engine.layer import ATTENTION_LINEARS, MLP_LINEARS, Layer, PassContext, norm_of, unknown_parts
from engine.linear import MultiLoRALinear
from engine.pointwise import rms_norm
from engine.repeatable import fix_workspaces

_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3", "qwen3_moe"})
_ROPES = frozenset(
    {"default", "linear", "llama3", "yarn"}
)  # the others depend on the longest sequence in a pass
_BLOCK_SIZE, _LEAK_FREE_SIZE = 32, 64
_ACTIVATIONS = frozenset({"silu", "swish"})  # two names of one function
_DECODER_PARTS = frozenset({"embed_tokens", "layers", "norm", "rotary_emb"})


class BaseRefused(ValueError):
    """The engine cannot train exactly on this base; the message says why. The role does not start."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Input of one forward pass: tokens, their positions, the sequences they continue and their tenants."""

    token_ids_T: Tensor
    positions_T: Tensor
    segments: Sequence[Segment]
    groups: tuple[Group, ...]
    wanted: Sequence[int]  # rows whose last hidden state the caller needs, ascending


class BaseModel:
    """A frozen decoder whose linears add each tenant's adapter to that tenant's rows.

    It takes the layers out of `model`, which cannot be used afterwards.
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
        experts = _expert_weights(decoder)
        adapted = ATTENTION_LINEARS if experts else (*ATTENTION_LINEARS, *MLP_LINEARS)
        self.frozen_linears = _last_parts(MLP_LINEARS) if experts else frozenset[str]()
        layers = [[[f"{prefix}.{name}" for name in group] for group in adapted] for prefix in prefixes]
        linears: dict[str, nn.Linear] = {
            name: named[name] for groups_of_linears in layers for group in groups_of_linears for name in group
        }
        _refuse_leaky_products([*(linear.weight for linear in linears.values()), self.head_VD, *experts])
        shapes = {name: (linear.in_features, linear.out_features) for name, linear in linears.items()}
        self.arena = Arena(
            [
                {name: shapes[name] for name in group}
                for groups_of_linears in layers
                for group in groups_of_linears
            ],
            rank=rank,
            slots=slots,
            device=self.device,
            dtype=self.dtype,
        )
        self.kernels = kernels or kernels_for(
            self.arena,
            head_size=int(decoder.layers[0].self_attn.head_dim),
            expert_sizes={size for matrix in experts for size in matrix.shape},
        )
        self._all_rows, self._wanted_rows = (RowOwners(self.kernels.products) for _ in range(2))
        self._embeddings_VD = decoder.embed_tokens.weight
        self._rotary, self._norm = decoder.rotary_emb, norm_of(decoder.norm)
        entry = torch.zeros((), device=self.device, requires_grad=True)
        self._layers = []
        for prefix, groups_of_linears in zip(prefixes, layers, strict=True):
            last = prefix == prefixes[-1]
            fused = [
                MultiLoRALinear({name: linears[name] for name in group}, self.arena, routing, entry)
                for group, routing in zip(
                    groups_of_linears, self._routings(len(groups_of_linears), last=last), strict=True
                )
            ]
            self._layers.append(Layer(named[prefix], fused, self.kernels.experts, last=last))
            for name in chain.from_iterable(
                groups_of_linears
            ):  # the fused linears have copies of their weights
                del linears[name], named[name]
                model.set_submodule(name, nn.Identity())

    def hidden(self, packed: PackedBatch) -> Tensor:
        """Last hidden states (W x D) of one packed batch. Call nothing else here until `backward` is done."""
        self._all_rows.route(packed.groups, len(packed.token_ids_T))
        self._wanted_rows.route(_among(packed.groups, packed.wanted), len(packed.wanted))
        x_TD = self._embeddings_VD[packed.token_ids_T]
        around = self._surroundings(packed, x_TD)
        for layer in self._layers:
            x_TD = layer(x_TD, around)
        return rms_norm(x_TD, *self._norm)

    def _routings(self, fused: int, *, last: bool) -> Sequence[RowOwners]:
        """The rows that each fused linear of a layer computes.

        In the last layer the first one (keys and values) needs all rows, the others only the wanted rows.
        """
        return [self._all_rows, *([self._wanted_rows if last else self._all_rows] * (fused - 1))]

    def _surroundings(self, packed: PackedBatch, x_TD: Tensor) -> PassContext:
        heads = self._layers[0].rotated_heads
        cos_THC, sin_THC = (  # one half, the other is the same; written out for every head: read in one go
            angles[0, :, None, : angles.shape[-1] // 2].expand(-1, heads, -1).contiguous()
            for angles in self._rotary(x_TD[None], packed.positions_T[None])
        )
        return PassContext(
            attention=self.kernels.attention(packed.segments, self.device),
            cos_THC=cos_THC,
            sin_THC=sin_THC,
            wanted_W=torch.tensor(packed.wanted, device=self.device),
        )


def load_base(base: Path, *, device: str, dtype: str, rank: int, slots: int) -> BaseModel:
    """The base model of a local directory. Raises `BaseRefused`, which names what is not supported."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BaseRefused("no CUDA device that torch could use here")
    transformers_logging.disable_progress_bar()  # it would fill the log of a service
    refuse_unsupported(AutoConfig.from_pretrained(base))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    return BaseModel(model.to(device), rank=rank, slots=slots)


def refuse_unsupported(config: Any) -> None:
    """Raises `BaseRefused` if the engine does not compute this architecture exactly."""
    if config.model_type not in _FAMILIES:
        raise BaseRefused(
            f"model type {config.model_type!r} is not supported (nor are shared experts, other routers, "
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
    """Raises `BaseRefused` if NaN of one tenant could enter another's rows.

    bf16 products on CPUs (oneDNN with AMX, seen in torch 2.13) read past the end of rows of such sizes and
    add the next values times zero: NaN in a tenant's first row would enter the last row of the one before.
    """
    if weights[0].device.type != "cpu" or weights[0].dtype != torch.bfloat16:
        return
    for size in {size for weight in weights for size in weight.shape}:
        if size > _LEAK_FREE_SIZE and size % _BLOCK_SIZE:
            raise BaseRefused(
                f"in bfloat16 on a CPU, sizes must be multiples of {_BLOCK_SIZE} for tenants to be isolated; "
                f"this base has {size}: use float32"
            )


def _expert_weights(decoder: Any) -> list[Tensor]:
    """The routers, and a matrix of each kind that an expert has; empty if the base has no experts."""
    mixtures = [layer.mlp for layer in decoder.layers if hasattr(layer.mlp, "experts")]
    return [
        matrix
        for mlp in mixtures
        for matrix in (mlp.gate.weight, mlp.experts.gate_up_proj[0], mlp.experts.down_proj[0])
    ]


def _last_parts(groups: Iterable[Sequence[str]]) -> frozenset[str]:
    return frozenset(name.rpartition(".")[2] for group in groups for name in group)


def _refuse_unknown_parts(decoder: Any) -> None:
    unknown = sorted(_DECODER_PARTS ^ dict(decoder.named_children()).keys())
    for layer in [] if unknown else decoder.layers:
        unknown = unknown or unknown_parts(layer)
    if unknown:
        raise BaseRefused(
            f"the base has parts that are unknown here, or lacks known ones: {', '.join(unknown)}"
        )


def _among(groups: Sequence[Group], wanted: Sequence[int]) -> tuple[Group, ...]:
    """The groups over the wanted rows only; a group without wanted rows is left out."""
    cut = (
        replace(group, start=bisect_left(wanted, group.start), end=bisect_left(wanted, group.end))
        for group in groups
    )
    return tuple(group for group in cut if group.end > group.start)
