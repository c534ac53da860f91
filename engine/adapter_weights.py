"""Reads and writes an adapter's tensors in PEFT's file format, and its optimizer state in a file of clorad's.

PEFT and vLLM read these directories as they are. An adapter that the engine cannot continue exactly is
refused, and the message names the reason.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.adapter_files import CONFIG, OPTIMIZER, WEIGHTS, fsync
from engine.manifest import MANIFEST, DamagedManifest, NewerManifest, read_manifest
from engine.recipe import Recipe

Matrices = Mapping[str, tuple[Tensor, Tensor]]
"""Name of a linear -> A (rank x inputs), B (outputs x rank)."""

_PREFIX = "base_model.model."
_HASH_PREFIX = "sha256:"
_BACKEND = "pread"  # safetensors (0.8.0) leaks 5 KiB each time it opens a file as a memory map
_INERT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "inference_mode",
        "lora_alpha",
        "lora_dropout",  # for training only, and clorad has none
        "megatron_core",  # no effect without `megatron_config`
        "peft_version",
        "qalora_group_size",  # no effect without `use_qalora`
        "r",
        "revision",
        "runtime_config",
        "target_modules",  # the tensors' names say which were adapted
        "use_rslora",
    }
)
"""Settings of PEFT that are read, or that change nothing about what an adapter computes."""

_UNDERSTOOD = {
    "peft_type": ("LORA",),
    "task_type": ("CAUSAL_LM", None),
    "bias": ("none", None),
    # Others change the base weights at the start (PiSSA, OLoRA, CorDA, LoRA-GA, LoftQ), or may do so later.
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}
"""Settings of PEFT of which only these values are understood."""


class AdapterRefused(ValueError):
    """The engine cannot continue this adapter; the message says why. The lesson ends as not learned."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """One agent's adapter outside the arena: weights, moments and step count, all fp32 on the CPU."""

    rank: int
    alpha: float
    rslora: bool
    targets: tuple[str, ...]
    base_hash: str | None  # None: another program made the adapter without a base hash
    weights: Matrices
    first: Matrices | None = None  # moments; None where the optimizer state was dropped
    second: Matrices | None = None
    steps: int = 0

    @property
    def bytes(self) -> int:
        """Size of its tensors, in bytes."""
        parts = (self.weights, self.first or {}, self.second or {})
        return sum(a.nbytes + b.nbytes for part in parts for a, b in part.values())


def write_adapter(adapter: Adapter, draft: Path) -> None:
    """Write weights, configuration and optimizer state to the draft, durably."""
    assert adapter.first is not None
    assert adapter.second is not None
    draft.mkdir(parents=True, exist_ok=True)
    save_file(_named(adapter.weights, _PREFIX), draft / WEIGHTS, metadata={"format": "pt"})
    moments = {**_named(adapter.first, "first."), **_named(adapter.second, "second.")}
    save_file(moments, draft / OPTIMIZER, metadata={"steps": str(adapter.steps)})
    (draft / CONFIG).write_text(json.dumps(_config(adapter), indent=1, sort_keys=True))
    for name in (WEIGHTS, OPTIMIZER, CONFIG):
        fsync(draft / name)


def read_adapter(directory: Path) -> Adapter:
    """The adapter of a version directory, or of a directory that PEFT saved.

    Raises `AdapterRefused`, also if files are damaged or missing, or if a newer clorad wrote the manifest;
    `OSError` if the store is unavailable.
    """
    try:
        return _read_adapter(directory)
    except FileNotFoundError as missing:
        if not directory.parent.is_dir():
            raise  # the store is unavailable, for every agent
        raise AdapterRefused(f"{directory.name} lacks {Path(missing.filename or '').name}") from None
    except AdapterRefused:
        raise
    except (NewerManifest, DamagedManifest) as refusal:
        raise AdapterRefused(str(refusal)) from None
    except (SafetensorError, ValueError, LookupError, TypeError) as fault:
        raise AdapterRefused(f"{directory.name} cannot be read: {type(fault).__name__}") from None


def refuse_mismatch(adapter: Adapter, recipe: Recipe, *, base_hash: str, name: str) -> None:
    """Raises `AdapterRefused` if the adapter does not fit the base, or the recipe it is to continue with."""
    if adapter.base_hash not in (None, base_hash):
        raise AdapterRefused(f"{name} was taught on base {adapter.base_hash}, this is base {base_hash}")
    actual = (adapter.rank, adapter.alpha, adapter.rslora, tuple(sorted(adapter.targets)))
    expected = (recipe.rank, recipe.alpha, recipe.rslora, tuple(sorted(recipe.targets)))
    if actual != expected:
        raise AdapterRefused(f"{name} has rank, alpha, rslora, targets {actual}; the recipe says {expected}")


def _read_adapter(directory: Path) -> Adapter:
    config = json.loads((directory / CONFIG).read_text())
    _refuse_unsupported(config, directory.name)
    weights = _matrices(load_file(directory / WEIGHTS, backend=_BACKEND), _PREFIX)
    first = second = None
    steps = 0
    if (directory / OPTIMIZER).is_file():
        moments = load_file(directory / OPTIMIZER, backend=_BACKEND)
        first, second = (_matrices(_under(moments, prefix), prefix) for prefix in ("first.", "second."))
        with safe_open(directory / OPTIMIZER, "pt", backend=_BACKEND) as file:
            steps = int(file.metadata()["steps"])
    return Adapter(
        rank=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        rslora=bool(config.get("use_rslora", False)),
        targets=tuple(sorted({name.rsplit(".", 1)[-1] for name in weights})),
        base_hash=_base_hash(directory, config),
        weights=weights,
        first=first,
        second=second,
        steps=steps,
    )


def _config(adapter: Adapter) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": f"{_HASH_PREFIX}{adapter.base_hash}",
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "use_rslora": adapter.rslora,
        "target_modules": sorted(adapter.targets),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def _refuse_unsupported(config: Mapping[str, Any], name: str) -> None:
    """Raises `AdapterRefused` for the first setting that is not understood; an empty one says nothing.

    PEFT gets new settings with each release: so there is a list of what is understood, not of the rest.
    """
    if "peft_type" not in config:
        raise AdapterRefused(f"{name} does not say its peft_type; only LORA is supported")
    for setting, value in sorted(config.items()):
        if setting in _UNDERSTOOD:
            is_understood = any(value is known or value == known for known in _UNDERSTOOD[setting])
        else:
            is_understood = setting in _INERT or not value
        if not is_understood:
            raise AdapterRefused(f"{name} has {setting} = {str(value)[:40]}, which is not supported")


def _base_hash(directory: Path, config: Mapping[str, Any]) -> str | None:
    if (directory / MANIFEST).is_file():
        return read_manifest(directory).base_hash
    base = str(config.get("base_model_name_or_path") or "")
    return base.removeprefix(_HASH_PREFIX) if base.startswith(_HASH_PREFIX) else None


def _named(matrices: Matrices, prefix: str) -> dict[str, Tensor]:
    named = {}
    for name, (a, b) in matrices.items():
        named[f"{prefix}{name}.lora_A.weight"], named[f"{prefix}{name}.lora_B.weight"] = a, b
    return named


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _matrices(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, tuple[Tensor, Tensor]]:
    """The pairs of matrices under this prefix, which must be all that there is."""
    a_ending, b_ending = ".lora_A.weight", ".lora_B.weight"
    if strange := [
        key for key in tensors if not (key.startswith(prefix) and key.endswith((a_ending, b_ending)))
    ]:
        raise AdapterRefused(f"tensors that are not LoRA's: {strange[0]} and {len(strange) - 1} more")
    names = sorted({key.removesuffix(a_ending).removesuffix(b_ending) for key in tensors})
    return {
        name.removeprefix(prefix): (tensors[name + a_ending].float(), tensors[name + b_ending].float())
        for name in names
    }
