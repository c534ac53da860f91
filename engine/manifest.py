"""A version's manifest: where the version comes from, in which format that is written, and how it is read.

Every format that a release has written is read. A newer one is refused by name, which is no damage: the
clorad that wrote it reads it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any

from engine.measurements import Probe, TrainingMetrics

MANIFEST = "manifest.json"

_SINCE_FORMAT_3 = ("ended", "learned_share", "kept_share", "learning_rate")
_SIGNAL = "signal_"  # what the names of signals begin with in format 1

FORMAT = 3
"""Written by this code. Format 1 has no number, and leaves out metrics that were not measured; format 2 has
the number, and says of every metric what it is or why it is absent; format 3 says how the lesson ended."""


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
    metrics: TrainingMetrics
    files: Mapping[str, str]  # name -> sha256
    content_hash: str
    probes: Sequence[Probe]  # what a replica must say to be believed
    format: int = FORMAT  # of the file it was read from


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(
        ("agent", "version", "base_hash", "tokenizer_hash", "turn", "pass_id", "content_hash"), str
    ),
    **dict.fromkeys(("events", "recipe", "metrics", "files"), dict),
    "parent": (str, NoneType),
    "seed": int,
    "probes": list,
}


def write_manifest(draft: Path, manifest: Manifest) -> None:
    """The draft says where it comes from, in the present format."""
    assert manifest.format == FORMAT, "older formats are only read"
    values = {
        **{field.name: getattr(manifest, field.name) for field in fields(Manifest)},
        "metrics": manifest.metrics.to_json(),
        "probes": [probe.to_json() for probe in manifest.probes],
    }
    (draft / MANIFEST).write_text(json.dumps(values, indent=1, sort_keys=True))


def read_manifest(directory: Path) -> Manifest:
    """A version's manifest, of any format up to the present one.

    Raises `NewerManifest`, `DamagedManifest` where fields are missing, unknown or wrong, and `OSError`.
    """
    name = f"{MANIFEST} of {directory.name}"
    content = (directory / MANIFEST).read_bytes()
    try:
        values = json.loads(content)
        number = _format_of(values)
        if number <= FORMAT:
            return _manifest_from(values, number)
    except ValueError as fault:  # no UTF-8, no JSON, or not what a manifest holds
        raise DamagedManifest(f"{name}: {fault}") from None
    raise NewerManifest(
        f"{name} has format {number}, this clorad reads formats 1 to {FORMAT}: "
        "run the newer clorad that wrote it, or roll the agent back to an older version"
    )


def _format_of(values: Any) -> int:
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    number = values.get("format", 1)
    if type(number) is not int or number < 1:
        raise ValueError("its format is not a number from 1 on")
    return number


def _manifest_from(values: dict[str, Any], number: int) -> Manifest:
    required = {field.name for field in fields(Manifest) if field.default is MISSING}
    if missing := sorted(required - values.keys()):
        raise ValueError(f"it lacks {', '.join(missing)}")
    if unknown := sorted(values.keys() - {field.name for field in fields(Manifest)}):
        raise ValueError(f"it has unknown fields: {', '.join(unknown)}")
    if wrong := sorted(name for name, kind in _KINDS.items() if not isinstance(values[name], kind)):
        raise ValueError(f"it has fields of another type: {', '.join(wrong)}")
    metrics = _metrics_of_format_1(values["metrics"]) if number == 1 else values["metrics"]
    if number < 3:
        metrics = {**dict.fromkeys(_SINCE_FORMAT_3), **metrics}
    read = {
        "format": number,
        "metrics": TrainingMetrics.from_json(metrics),
        "probes": tuple(Probe.from_json(probe) for probe in values["probes"]),
    }
    return Manifest(**{**values, **read})


def _metrics_of_format_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of format 1 as format 2 has them."""
    plain = {name: value for name, value in values.items() if not name.startswith(_SIGNAL)}
    return {
        "clipped_share": None,
        "dev_loss_first_nats": None,
        "dev_loss_last_nats": None,
        "kl_nats": {"absent": "not measured, and a manifest of format 1 does not say why"},
        **plain,
        "stopped_early": bool(values.get("stopped_early")),
        "signals": {
            name.removeprefix(_SIGNAL): pull for name, pull in values.items() if name.startswith(_SIGNAL)
        },
    }
