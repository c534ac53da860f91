"""Adapters made of trained ones: scaled, added up, with modules left out. Each is an adapter that PEFT reads.

The product of a sum's matrices is the sum of the products: the factors of all parts stand side by side, and
the rank is the sum of their ranks.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from engine.adapter_files import CONFIG, WEIGHTS

_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class MixPart:
    """One trained adapter in a mix."""

    adapter: str  # name of a trained adapter
    factor: float = 1.0
    without: str | None = None  # modules whose name has this regular expression have no part in the mix


Mix = tuple[MixPart, ...]
"""The sum of its parts; without parts, the bare base."""


def write_mix(parts: Sequence[tuple[Path, MixPart]], folder: Path) -> None:
    """Write the sum of the adapters in these directories. All have the same modules."""
    configs: list[dict[str, Any]] = [json.loads((path / CONFIG).read_text()) for path, _ in parts]
    tensors = [load_file(path / WEIGHTS) for path, _ in parts]
    mixed: dict[str, torch.Tensor] = {}
    for name in sorted(name.removesuffix(_A) for name in tensors[0] if name.endswith(_A)):
        mixed[name + _A] = torch.cat([tensor[name + _A] for tensor in tensors], dim=0)
        mixed[name + _B] = torch.cat(
            [
                tensor[name + _B] * _factor(part, name) * config["lora_alpha"] / config["r"]
                for tensor, config, (_, part) in zip(tensors, configs, parts, strict=True)
            ],
            dim=1,
        )
    rank = sum(config["r"] for config in configs)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in mixed.items()}, folder / WEIGHTS)
    # The factors hold the whole scale: alpha / rank is 1.
    (folder / CONFIG).write_text(json.dumps({**configs[0], "r": rank, "lora_alpha": float(rank)}))


def _factor(part: MixPart, module: str) -> float:
    return 0.0 if part.without is not None and re.search(part.without, module) else part.factor
