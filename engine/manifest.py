"""Reads and writes a version's manifest, the file that says where the version comes from.

Every format that a release has written can be read. A manifest of a newer format is refused, and the message
names both formats: the file is not damaged, and the clorad that wrote it can read it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any

from engine.measurements import Probe, RateTry, TrainingMetrics

MANIFEST = "manifest.json"

_SINCE_FORMAT_3 = ("ended", "learned_share", "kept_share", "learning_rate")
_SINCE_FORMAT_5 = ("gap_nats", "truncated_share")
_SIGNAL = "signal_"  # prefix of the names of signals in format 1

FORMAT = 5
"""The format that this code writes. Format 1 has no number and leaves out metrics that were not measured.
Format 2 has the number, and each metric or why it is absent. Format 3 says how the lesson ended. Format 4
says which learning rates were tried. Format 5 compares the engine with the replicas (`engine.behaviour`)."""


class NewerManifest(Exception):
    """The manifest has a newer format than this code knows; the message names both, and what to do.

    The version is not damaged. It is not served or trained further here, and no decision is taken about it.
    """


class DamagedManifest(ValueError):
    """The file is not a manifest of its stated format; the message names the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Where a version comes from: it names the events behind every gradient, and suffices to train it again.

    A field that a later format adds has a default, which is its value for older files.
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
    probes: Sequence[Probe]  # the answers that a replica must give before it serves the version
    tries: Sequence[RateTry] = ()  # the learning rates that were tried; empty: there was one
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
    """Write the manifest to the draft, in the present format."""
    assert manifest.format == FORMAT, "older formats are only read"
    values = {
        **{field.name: getattr(manifest, field.name) for field in fields(Manifest)},
        "metrics": manifest.metrics.to_json(),
        "probes": [probe.to_json() for probe in manifest.probes],
        "tries": [rate_try.to_json() for rate_try in manifest.tries],
    }
    (draft / MANIFEST).write_text(json.dumps(values, indent=1, sort_keys=True))


def read_manifest(directory: Path) -> Manifest:
    """A version's manifest, of any format up to the present one.

    Raises `NewerManifest`, `DamagedManifest` if fields are missing, unknown or wrong, and `OSError`.
    """
    name = f"{MANIFEST} of {directory.name}"
    content = (directory / MANIFEST).read_bytes()
    try:
        values = json.loads(content)
        number = _format_of(values)
        if number <= FORMAT:
            return _manifest_from(values, number)
    except ValueError as fault:  # not UTF-8, not JSON, or not the fields of a manifest
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
    if not isinstance(values.get("tries", []), list):
        raise ValueError("it has fields of another type: tries")
    if missing := sorted(required - values.keys()):
        raise ValueError(f"it lacks {', '.join(missing)}")
    if unknown := sorted(values.keys() - {field.name for field in fields(Manifest)}):
        raise ValueError(f"it has unknown fields: {', '.join(unknown)}")
    if wrong := sorted(name for name, kind in _KINDS.items() if not isinstance(values[name], kind)):
        raise ValueError(f"it has fields of another type: {', '.join(wrong)}")
    metrics = _metrics_of_format_1(values["metrics"]) if number == 1 else values["metrics"]
    if number < 3:
        metrics = {**dict.fromkeys(_SINCE_FORMAT_3), **metrics}
    if number < 5:
        metrics = {**dict.fromkeys(_SINCE_FORMAT_5), **metrics}
    parsed = {
        "format": number,
        "metrics": TrainingMetrics.from_json(metrics),
        "probes": tuple(Probe.from_json(probe) for probe in values["probes"]),
        "tries": tuple(RateTry.from_json(tried) for tried in values.get("tries", ())),
    }
    return Manifest(**{**values, **parsed})


def _metrics_of_format_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of format 1, in format 2."""
    metrics = {name: value for name, value in values.items() if not name.startswith(_SIGNAL)}
    return {
        "clipped_share": None,
        "dev_loss_first_nats": None,
        "dev_loss_last_nats": None,
        "kl_nats": {"absent": "not measured, and a manifest of format 1 does not say why"},
        **metrics,
        "stopped_early": bool(values.get("stopped_early")),
        "signals": {
            name.removeprefix(_SIGNAL): size for name, size in values.items() if name.startswith(_SIGNAL)
        },
    }
