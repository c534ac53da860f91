"""Keeps adapters out of the base's answers on vLLM's CPU build (0.32). A plugin that vLLM loads.

vLLM finds a row's adapter by index. The index for "no adapter" is -1, which Python reads as the last slot: in
one batch with an adapter's rows, the base answers with the adapter loaded there last (0.7 nats off;
vllm-project/vllm pull request 48421). vLLM finds this plugin by the folder's dist-info.
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


def skip_rows_without_adapter() -> None:
    """Make the products skip rows without an adapter. Repeating it changes nothing."""
    modules = [import_module(name) for name in _USERS]
    for name in _PRODUCTS:
        fixed = over_adapted_rows(getattr(modules[0], name))
        for module in modules:
            setattr(module, name, fixed)


def over_adapted_rows(product: Callable[..., None]) -> Callable[..., None]:
    """The same product over the rows that have an adapter. Other rows of the output stay as they were."""

    def over_adapters(inputs: Any, weights: Any, output: Any, slot_N: Any, *more: Any, **named: Any) -> None:
        adapted_N = slot_N >= 0
        if bool(adapted_N.all()) or len(inputs) != len(slot_N):
            product(inputs, weights, output, slot_N, *more, **named)
        elif bool(adapted_N.any()):
            rows = output[: len(slot_N)][adapted_N]
            product(inputs[adapted_N], weights, rows, slot_N[adapted_N], *more, **named)
            output[: len(slot_N)][adapted_N] = rows

    return over_adapters
