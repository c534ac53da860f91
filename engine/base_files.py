"""Hashes of a base model and of its tokenizer, over the files of their directory.

Adapters, versions and replicas have the base's hash; an adapter fits a base with an equal hash. No torch
needed. `engine.file_hash_cache` remembers hashes: reading weights of many gigabytes takes minutes.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from engine import file_hash_cache

_BLOCK_BYTES = 1 << 20
_TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)


def base_hash(base: Path) -> str:
    """sha256 (hex) over `config.json` and the weight files, by name and content.

    Raises `ValueError` if there are no weight files, or if they change while they are read; `OSError`.
    """
    weights = sorted(base.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"{base} holds no .safetensors weights")
    files = [base / "config.json", *weights]
    return file_hash_cache.cached_hash(files, lambda: hash_of_files(files))


def tokenizer_hash(base: Path) -> str:
    """sha256 (hex) over the tokenizer's files, its chat template included."""
    present = [base / name for name in _TOKENIZER_FILES if (base / name).is_file()]
    if not present:
        raise ValueError(f"{base} holds no tokenizer")
    return hash_of_files(present)


def hash_of_files(files: Iterable[Path]) -> str:
    """sha256 (hex) over names, sizes and contents, in the order given."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
