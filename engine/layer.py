"""Computes one decoder layer of the Llama family over packed rows, with the base's own weights.

A layer with a mixture of experts differs in its feed-forward part (`engine.experts`).

The modelling code of transformers is not run: the layer takes its parts by name, and a base with an unknown
part is refused. Tests compare the results with the modelling code's, for each family.

Shapes: T rows, W of them wanted, D hidden size, H query and key heads together, C half a head's size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.experts import ExpertProduct, Experts, FrozenMLP
from engine.linear import MultiLoRALinear
from engine.pointwise import gate, rms_norm, rotate

_LAYER_PARTS = frozenset({"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"})
_ATTENTION_PARTS = frozenset({"q_proj", "k_proj", "v_proj", "o_proj"})
_HEAD_NORMS = frozenset({"q_norm", "k_norm"})
_MLP_PARTS = frozenset({"gate_proj", "up_proj", "down_proj", "act_fn"})
_EXPERT_PARTS = frozenset({"gate", "experts"})

ATTENTION_LINEARS = (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("self_attn.o_proj",))
"""Linears that read the same input; in the last layer only the first group needs all rows."""

MLP_LINEARS = (("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))
"""Those of the feed-forward part, which are not adapted in a base with experts."""


@dataclass(frozen=True, slots=True)
class PassContext:
    """What every layer needs to know about the present batch."""

    attention: Callable[..., Tensor]  # called as `engine.attention.PackedAttention` is
    cos_THC: Tensor  # of each row's position, the same for every head
    sin_THC: Tensor
    wanted_W: Tensor  # rows that the last layer computes


@dataclass(frozen=True, slots=True)
class AdaptedMLP:
    """The feed-forward part whose linears the tenants adapt."""

    gate_up: MultiLoRALinear
    down: MultiLoRALinear

    def __call__(self, x_TD: Tensor) -> Tensor:
        """The output for each row."""
        return self.down(gate(self.gate_up(x_TD)))


class Layer:
    """x + attention(norm x), then x + mlp(norm x)."""

    def __init__(
        self, layer: nn.Module, fused: Sequence[MultiLoRALinear], product: ExpertProduct, *, last: bool
    ) -> None:
        attention: Any = layer.self_attn
        self._qkv, self._o, *mlp = fused
        self._mlp = AdaptedMLP(*mlp) if mlp else frozen_mlp(layer.mlp, product)
        self._norms = [norm_of(layer.input_layernorm), norm_of(layer.post_attention_layernorm)]
        self._head_size, self._scaling = int(attention.head_dim), float(attention.scaling)
        query, key, _ = (columns.stop - columns.start for columns in self._qkv.columns)
        self._query_heads, self._key_heads = query // self._head_size, key // self._head_size
        self.rotated_heads = self._query_heads + self._key_heads
        self._head_norm: tuple[Tensor, float] | None = None
        if hasattr(attention, "q_norm"):
            (query_norm, epsilon), (key_norm, _) = norm_of(attention.q_norm), norm_of(attention.k_norm)
            heads = [query_norm] * self._query_heads + [key_norm] * self._key_heads
            self._head_norm = torch.stack(heads), epsilon
        self._last = last

    def __call__(self, x_TD: Tensor, context: PassContext) -> Tensor:
        """The layer's output for every row; the last layer's for the wanted rows only."""
        attended_TD = self._attend(rms_norm(x_TD, *self._norms[0]), context)
        if self._last:
            x_TD, attended_TD = (rows.index_select(0, context.wanted_W) for rows in (x_TD, attended_TD))
        x_TD = self._o(attended_TD).add_(x_TD)
        return self._mlp(rms_norm(x_TD, *self._norms[1])).add_(x_TD)

    def _attend(self, x_TD: Tensor, context: PassContext) -> Tensor:
        heads = self._qkv(x_TD).view(len(x_TD), -1, self._head_size)
        query_key, value = torch.split(heads, [self.rotated_heads, self._key_heads], dim=1)
        if self._head_norm is not None:
            query_key = rms_norm(query_key, *self._head_norm)
        query_key = rotate(query_key, context.cos_THC, context.sin_THC)
        query, key = torch.split(query_key, [self._query_heads, self._key_heads], dim=1)
        return context.attention(query, key, value, scaling=self._scaling).flatten(1)


def frozen_mlp(mlp: Any, product: ExpertProduct) -> Experts | FrozenMLP:
    """The feed-forward part of a layer in a base with experts."""
    return Experts(mlp, product) if hasattr(mlp, "experts") else FrozenMLP(mlp)


def unknown_parts(layer: nn.Module) -> list[str]:
    """Parts of a base's layer that `Layer` does not compute, or that it needs and the base lacks."""
    named = dict(layer.named_children())
    unknown = _LAYER_PARTS ^ named.keys()
    if not unknown:
        attention, mlp = (dict(named[name].named_children()) for name in ("self_attn", "mlp"))
        mlp_parts = _EXPERT_PARTS if "experts" in mlp else _MLP_PARTS
        unknown = (_ATTENTION_PARTS ^ (attention.keys() - _HEAD_NORMS)) | (mlp_parts ^ mlp.keys())
        unknown |= {name for name in _HEAD_NORMS if len(_HEAD_NORMS & attention.keys()) == 1}
    return sorted(unknown)


def norm_of(module: Any) -> tuple[Tensor, float]:
    """Weight and epsilon, for `rms_norm`."""
    return module.weight.detach(), float(module.variance_epsilon)
