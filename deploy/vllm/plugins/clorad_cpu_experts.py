"""Lets vLLM's CPU build (0.32) serve a base with experts and LoRA on its attention. A plugin that vLLM loads.

With LoRA enabled, vLLM computes experts by Triton, also where `--lora-target-modules` does not name them and
where there is no Triton: on a CPU the first request then ends the server. With this plugin a CPU computes
experts as it does without LoRA. If the experts are among the targets, vLLM refuses that when it starts.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

_SELECTION = "select_unquantized_moe_backend"
_USERS = (
    "vllm.model_executor.layers.fused_moe.oracle.unquantized",
    "vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method",
)


def compute_experts_without_triton() -> None:
    """Choose the CPU's own implementation of experts. No effect elsewhere; repeating it changes nothing."""
    if not import_module("vllm.platforms").current_platform.is_cpu():
        return
    modules = [import_module(name) for name in _USERS]
    select = getattr(modules[0], _SELECTION)
    if not hasattr(select, "without_lora"):
        for module in modules:
            setattr(module, _SELECTION, selecting_without_lora(select))


def selecting_without_lora(select: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same selection, which is not told that LoRA is enabled."""

    def select_without_lora(moe_config: Any) -> Any:
        return select(replace(moe_config, is_lora_enabled=False))

    select_without_lora.without_lora = True  # type: ignore[attr-defined]
    return select_without_lora
