"""One decoder layer of the Llama family over packed rows, made of the base's own weights.

The modelling code is not run: its parts are taken over by name, and a part that is not known is refused.
What it computes is held to the modelling code's numbers by tests, for each family.

Shapes: T rows, W of them wanted, D hidden size, H query and key heads together, C half a head's size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.linear import MultiLoRALinear
from engine.pointwise import gate, rms_norm, rotate

_LAYER_PARTS = frozenset({"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"})
_ATTENTION_PARTS = frozenset({"q_proj", "k_proj", "v_proj", "o_proj"})
_HEAD_NORMS = frozenset({"q_norm", "k_norm"})
_MLP_PARTS = frozenset({"gate_proj", "up_proj", "down_proj", "act_fn"})

JOINTS = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
"""Linears of a layer that read the same input; the last layer's first joint sees all rows."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every layer of a pass needs to know of it."""

    attention: Callable[..., Tensor]  # called as `engine.attention.PackedAttention` is
    cos_THC: Tensor  # of each row's position, the same for every head
    sin_THC: Tensor
    wanted_W: Tensor  # rows the last layer answers for


class Layer:
    """x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, layer: nn.Module, joined: Sequence[MultiLoRALinear], *, last: bool) -> None:
        attention: Any = layer.self_attn
        self._qkv, self._o, self._gate_up, self._down = joined
        self._norms = [norm_of(layer.input_layernorm), norm_of(layer.post_attention_layernorm)]
        self._head_size, self._scaling = int(attention.head_dim), float(attention.scaling)
        query, key, _ = (columns.stop - columns.start for columns in self._qkv.columns)
        self._query_heads, self._key_heads = query // self._head_size, key // self._head_size
        self.rotated_heads = self._query_heads + self._key_heads
        self._head_norm: tuple[Tensor, float] | None = None
        if hasattr(attention, "q_norm"):
            (of_query, epsilon), (of_key, _) = norm_of(attention.q_norm), norm_of(attention.k_norm)
            heads = [of_query] * self._query_heads + [of_key] * self._key_heads
            self._head_norm = torch.stack(heads), epsilon
        self._last = last

    def __call__(self, x_TD: Tensor, around: Surroundings) -> Tensor:
        """The layer's answer for every row; the last layer's for the wanted rows alone."""
        heard_TD = self._attend(rms_norm(x_TD, *self._norms[0]), around)
        if self._last:
            x_TD, heard_TD = (rows.index_select(0, around.wanted_W) for rows in (x_TD, heard_TD))
        x_TD = self._o(heard_TD).add_(x_TD)
        return self._down(gate(self._gate_up(rms_norm(x_TD, *self._norms[1])))).add_(x_TD)

    def _attend(self, x_TD: Tensor, around: Surroundings) -> Tensor:
        heads = self._qkv(x_TD).view(len(x_TD), -1, self._head_size)
        query_key, value = torch.split(heads, [self.rotated_heads, self._key_heads], dim=1)
        if self._head_norm is not None:
            query_key = rms_norm(query_key, *self._head_norm)
        query_key = rotate(query_key, around.cos_THC, around.sin_THC)
        query, key = torch.split(query_key, [self._query_heads, self._key_heads], dim=1)
        return around.attention(query, key, value, scaling=self._scaling).flatten(1)


def unknown_parts(layer: nn.Module) -> list[str]:
    """What a layer of the base has that `Layer` would leave out, or misses; empty where all is known."""
    named = dict(layer.named_children())
    found = _LAYER_PARTS ^ named.keys()
    if not found:
        attention, mlp = (dict(named[name].named_children()) for name in ("self_attn", "mlp"))
        found = (_ATTENTION_PARTS ^ (attention.keys() - _HEAD_NORMS)) | (_MLP_PARTS ^ mlp.keys())
        found |= {name for name in _HEAD_NORMS if len(_HEAD_NORMS & attention.keys()) == 1}
    return sorted(found)


def norm_of(module: Any) -> tuple[Tensor, float]:
    """What `rms_norm` asks for: weight and epsilon."""
    return module.weight.detach(), float(module.variance_epsilon)
