"""A version's manifest: where the version comes from, in which format that is written, and how it is read.

Every format that a release has written is read. A newer one is refused by name, which is no damage: the
clorad that wrote it reads it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"

FORMAT = 2
"""Written by this code. Format 1 has no number; format 2 has one."""


class NewerManifest(Exception):
    """The manifest has a format that this code does not know; the message names both and the way out.

    The version is sound: it is neither served nor taught further here, and nothing is decided about it.
    """


class DamagedManifest(ValueError):
    """The file is no manifest of the format it claims; the message names what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Where a version comes from: enough to name the event behind every gradient, and to make it again.

    A field that a later format adds has a default, which stands for it in older files.
    """

    agent: str
    version: str  # v7-3fa2c1
    parent: str | None  # the version it started from; None: the bare base
    base_hash: str
    tokenizer_hash: str
    turn: str
    pass_id: str
    events: Mapping[str, Sequence[str]]  # part of the batch -> uids
    recipe: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, float | int | str]
    files: Mapping[str, str]  # name -> sha256
    content_hash: str
    probes: Sequence[Mapping[str, Any]]  # what a replica must say to be believed: engine.probes
    format: int = FORMAT  # of the file it was read from


def write_manifest(draft: Path, manifest: Manifest) -> None:
    """The draft says where it comes from, in the present format."""
    assert manifest.format == FORMAT, "older formats are only read"
    (draft / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True))


def read_manifest(directory: Path) -> Manifest:
    """A version's manifest, of any format up to the present one.

    Raises `NewerManifest`, `DamagedManifest` where fields are missing or unknown, and `OSError`.
    """
    name = f"{MANIFEST} of {directory.name}"
    try:
        values = json.loads((directory / MANIFEST).read_bytes())
    except ValueError:  # no UTF-8, or no JSON
        raise DamagedManifest(f"{name} is not JSON") from None
    if not isinstance(values, dict):
        raise DamagedManifest(f"{name} is not a JSON object")
    _refuse_unknown_format(values.get("format", 1), name)
    every = {field.name for field in fields(Manifest)}
    required = {field.name for field in fields(Manifest) if field.default is MISSING}
    if missing := sorted(required - values.keys()):
        raise DamagedManifest(f"{name} lacks {', '.join(missing)}")
    if unknown := sorted(values.keys() - every):
        raise DamagedManifest(f"{name} has unknown fields: {', '.join(unknown)}")
    return Manifest(**{"format": 1, **values})


def _refuse_unknown_format(found: Any, name: str) -> None:
    if type(found) is not int or found < 1:
        raise DamagedManifest(f"{name} has a format that is no number from 1 on")
    if found > FORMAT:
        raise NewerManifest(
            f"{name} has format {found}, this clorad reads formats 1 to {FORMAT}: "
            "run the newer clorad that wrote it, or roll the agent back to an older version"
        )
