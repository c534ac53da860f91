"""Keeps adapters out of the base's answers on vLLM's CPU build (0.32), as a plugin of vLLM's own kind.

There, a batch's row finds its adapter's slot by index, and the index for "none" is -1, which is the last
slot: beside an adapter's rows the base answers with whatever was loaded there last (seen: 0.7 nats off;
vllm-project/vllm pull request 48421). vLLM loads this in each of its processes, by the folder's dist-info.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

_PRODUCTS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")
_USERS = (
    "vllm.lora.ops.torch_ops.lora_ops",
    "vllm.lora.ops.torch_ops",
    "vllm.lora.punica_wrapper.punica_cpu",
)


def leave_the_base_alone() -> None:
    """The products skip rows without an adapter. Safe to repeat, and where vLLM does so itself."""
    modules = [import_module(name) for name in _USERS]
    for name in _PRODUCTS:
        fixed = skipping(getattr(modules[0], name))
        for module in modules:
            setattr(module, name, fixed)


def skipping(product: Callable[..., None]) -> Callable[..., None]:
    """The same product over the rows that have an adapter; the others' output stays as it was."""

    def over_adapters(inputs: Any, weights: Any, output: Any, slot_N: Any, *more: Any, **named: Any) -> None:
        taught_N = slot_N >= 0
        if bool(taught_N.all()) or len(inputs) != len(slot_N):
            product(inputs, weights, output, slot_N, *more, **named)
        elif bool(taught_N.any()):
            rows = output[: len(slot_N)][taught_N]
            product(inputs[taught_N], weights, rows, slot_N[taught_N], *more, **named)
            output[: len(slot_N)][taught_N] = rows

    return over_adapters
