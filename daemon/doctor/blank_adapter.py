"""Writes an adapter that changes no answer, to see whether a replica can load one from the store.

Its matrices are zeros on one linear of the first layer, in PEFT's format. The safetensors file is written
here (https://huggingface.co/docs/safetensors): machines without the engine have no library for it.
"""

import json
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from secrets import token_hex
from typing import Any

from engine.store_access import share_as_store

_FOLDER = ".doctor"  # no agent's name begins so
_TARGET = "q_proj"
_MODULE = f"base_model.model.model.layers.0.self_attn.{_TARGET}"


@contextmanager
def blank_adapter(store: Path, base: Path, *, rank: int) -> Iterator[Path]:
    """A directory in the store with an adapter of this rank, until the block ends.

    Raises `OSError` if the store cannot be written, `ValueError` if the base's configuration cannot be read.
    """
    weights = _weights(json.loads((base / "config.json").read_bytes()), rank)
    folder = store / _FOLDER / token_hex(6)
    folder.mkdir(parents=True)
    try:
        (folder / "adapter_model.safetensors").write_bytes(weights)
        (folder / "adapter_config.json").write_text(json.dumps(_configuration(rank)))
        share_as_store(folder.parent, store)
        share_as_store(folder, store)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configuration(rank: int) -> Mapping[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "",
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": [_TARGET],
    }


def _weights(config: Any, rank: int) -> bytes:
    """The bytes of a safetensors file: a JSON header with its length before it, then the tensors."""
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        queries = heads * int(config.get("head_dim") or hidden // heads)
    except (KeyError, TypeError, AttributeError, ZeroDivisionError):
        raise ValueError("config.json has no hidden_size and num_attention_heads") from None
    shapes = {f"{_MODULE}.lora_A.weight": (rank, hidden), f"{_MODULE}.lora_B.weight": (queries, rank)}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(end)
