"""Which base model and which tokenizer a directory holds, as hashes over their files.

Adapters, versions and replicas carry these; equality is what makes an adapter fit. No torch needed.
What was read is known again by `engine.base_memory`: weights of many gigabytes take minutes to read.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from engine import base_memory

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

    Raises `ValueError` where there are none, or they changed while they were read; `OSError`.
    """
    weights = sorted(base.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"{base} holds no .safetensors weights")
    files = [base / "config.json", *weights]
    return base_memory.known_or(files, lambda: hash_of_files(files))


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
