"""An adapter's tensors, to and from PEFT's file format; its optimizer state beside it in a file of ours.

PEFT and vLLM read these directories as they are. What the engine cannot continue exactly is refused by name.
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
_BACKEND = "pread"  # files that safetensors (0.8.0) maps leave 5 KiB behind each time they are opened
_INERT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "inference_mode",
        "lora_alpha",
        "lora_dropout",  # of training alone, and ours has none
        "megatron_core",  # says nothing without `megatron_config`
        "peft_version",
        "qalora_group_size",  # says nothing without `use_qalora`
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
    # Others begin from changed base weights (PiSSA, OLoRA, CorDA, LoRA-GA, LoftQ), or may do so one day.
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}
"""Settings of PEFT of which only these values are understood."""


class AdapterRefused(ValueError):
    """This adapter cannot be taught further here; the message names why. The lesson ends as not learned."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """One agent's adapter at rest: weights, moments and step count, all fp32 on the CPU."""

    rank: int
    alpha: float
    rslora: bool
    targets: tuple[str, ...]
    base_hash: str | None  # None: made elsewhere, and it does not say
    weights: Matrices
    first: Matrices | None = None  # moments; None where the optimizer state was dropped
    second: Matrices | None = None
    steps: int = 0

    @property
    def bytes(self) -> int:
        """Memory its tensors take."""
        parts = (self.weights, self.first or {}, self.second or {})
        return sum(a.nbytes + b.nbytes for part in parts for a, b in part.values())


def write_adapter(adapter: Adapter, draft: Path) -> None:
    """Weights, configuration and optimizer state are in the draft, on disk."""
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
    """The adapter of a version directory, or of one PEFT saved.

    Raises `AdapterRefused`, also where its files are damaged or some are missing, or a newer clorad wrote
    its manifest; `OSError` where the store is away.
    """
    try:
        return _read_adapter(directory)
    except FileNotFoundError as missing:
        if not directory.parent.is_dir():
            raise  # not one agent's trouble
        raise AdapterRefused(f"{directory.name} lacks {Path(missing.filename or '').name}") from None
    except AdapterRefused:
        raise
    except (NewerManifest, DamagedManifest) as refusal:
        raise AdapterRefused(str(refusal)) from None
    except (SafetensorError, ValueError, LookupError, TypeError) as fault:
        raise AdapterRefused(f"{directory.name} cannot be read: {type(fault).__name__}") from None


def refuse_mismatch(adapter: Adapter, recipe: Recipe, *, base_hash: str, name: str) -> None:
    """Raises `AdapterRefused` where the adapter fits neither the base nor the recipe it should go on with."""
    if adapter.base_hash not in (None, base_hash):
        raise AdapterRefused(f"{name} was taught on base {adapter.base_hash}, this is base {base_hash}")
    has = (adapter.rank, adapter.alpha, adapter.rslora, tuple(sorted(adapter.targets)))
    wants = (recipe.rank, recipe.alpha, recipe.rslora, tuple(sorted(recipe.targets)))
    if has != wants:
        raise AdapterRefused(f"{name} has rank, alpha, rslora, targets {has}; the recipe says {wants}")


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
