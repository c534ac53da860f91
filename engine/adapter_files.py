"""Hashes, checks and publishes a version directory; one rename makes it visible.

Weights, configuration and optimizer state are hashed; `engine.manifest` records where they come from. Needs
no torch: `adapter_weights` reads and writes the tensors.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from engine.base_files import hash_of_files
from engine.manifest import MANIFEST, DamagedManifest, read_manifest
from engine.store_access import share_as_store

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
OPTIMIZER = "optimizer.safetensors"
_LEFT_BY_NFS = ".nfs"  # a file that somebody removed while another had it open
_HASHED = (WEIGHTS, CONFIG, OPTIMIZER)


class VersionTaken(Exception):
    """A directory with other content has this version's name; the version is not published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The sha256 hashes of the files in a version directory."""

    sha256: Mapping[str, str]  # name -> hex
    content_hash: str  # over all of them


def content_hash(directory: Path) -> str:
    """sha256 (hex) over weights, configuration and optimizer state; never the manifest."""
    return files_of(directory).content_hash


def files_of(directory: Path) -> Files:
    """The hashes of a complete directory; raises `ValueError` where a file is missing."""
    hashes = _hashes(directory)
    if missing := [name for name in _HASHED if name not in hashes]:
        raise ValueError(f"{directory.name} lacks {', '.join(missing)}")
    lines = "".join(f"{name} {hashes[name]}\n" for name in _HASHED)
    return Files(sha256=hashes, content_hash=sha256(lines.encode()).hexdigest())


def damaged_files(directory: Path) -> tuple[str, ...]:
    """Names of the files that are not what the manifest says; optimizer state may be absent.

    A file that the manifest does not name counts too: vLLM also loads a tokenizer beside an adapter.
    """
    recorded, hashes = read_manifest(directory).files, _hashes(directory)
    expected = {name for name in recorded if name != OPTIMIZER or name in hashes}
    changed = {name for name in expected if hashes.get(name) != recorded[name]}
    names = {path.name for path in directory.iterdir() if not path.name.startswith(_LEFT_BY_NFS)}
    return tuple(sorted(changed | (names - recorded.keys() - {MANIFEST})))


def publish(draft: Path, final: Path) -> Path:
    """Rename the complete `draft` to `final`, durably. If `final` has the same content, remove the draft.

    `final` is in its agent's folder, and that in the store, whose modes decide who may read a version.
    Raises `VersionTaken` if `final` has other content or no readable manifest, and `NewerManifest`.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    for folder in (final.parent, draft):
        share_as_store(folder, final.parent.parent)
    for path in (*draft.iterdir(), draft):
        fsync(path)
    if not final.exists():
        try:
            draft.rename(final)
        except OSError:  # another process published meanwhile: its directory is not empty
            if not final.exists():
                raise
    if draft.exists():
        _refuse_other_content(draft, final)
        shutil.rmtree(draft)
    for directory in (
        final.parent,
        final.parent.parent,
    ):  # the agent's directory is new with its first version
        fsync(directory)
    return final


def _refuse_other_content(draft: Path, final: Path) -> None:
    name = f"{final.parent.name}/{final.name}"
    try:
        published_hash = read_manifest(final).content_hash
    except (DamagedManifest, FileNotFoundError):
        raise VersionTaken(f"{name} exists and has no readable manifest") from None
    if content_hash(draft) != published_hash:
        raise VersionTaken(f"{name} exists with other content")


def _hashes(directory: Path) -> dict[str, str]:
    return {name: hash_of_files([directory / name]) for name in _HASHED if (directory / name).is_file()}


def fsync(path: Path) -> None:
    """Write the file's bytes, or the directory's entries, to disk, so that they survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
