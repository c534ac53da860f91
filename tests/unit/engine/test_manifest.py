"""Manifests of every format are read; unknown fields and formats are refused by name.

`samples/format_N` has a version that the code of that format wrote, and the pass that made it. For a new
format, add a folder that the new code wrote; older folders never change.
"""

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.adapter_files import damaged_files
from engine.adapter_weights import read_adapter
from engine.backend import FormDiffers
from engine.lesson import Learned, Lesson
from engine.manifest import FORMAT, DamagedManifest, Manifest, NewerManifest, read_manifest
from engine.measurements import Absent
from engine.recipe import recipe_from
from engine.warm_engine import WarmEngine
from rewards.episode import Episode, Part, SampledTokens, Span, Weighted

SAMPLES = Path(__file__).parent / "samples"
FORMATS = sorted(SAMPLES.glob("format_*"))
FIELDS_OF_FORMAT_1 = set(json.loads(next((SAMPLES / "format_1").glob("v*/manifest.json")).read_text()))

on_every_format = pytest.mark.parametrize("sample", FORMATS, ids=lambda sample: sample.name)


def version_in(sample: Path) -> Path:
    (directory,) = sample.glob("v*")
    return directory


def copy_with(directory: Path, **changes: Any) -> Path:
    """A manifest of the first format with changes, in a directory of its own."""
    values = json.loads((version_in(SAMPLES / "format_1") / "manifest.json").read_text())
    values.update(changes)
    directory.mkdir()
    (directory / "manifest.json").write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))
    return directory


@on_every_format
def test_a_version_of_every_format_is_read_whole(sample: Path) -> None:
    manifest = read_manifest(version_in(sample))
    assert f"format_{manifest.format}" == sample.name
    assert (manifest.agent, manifest.version) == ("billing", version_in(sample).name)
    assert manifest.events["new"] == ["desk#1", "desk#2", "desk#3", "desk#4"]
    assert damaged_files(version_in(sample)) == ()
    assert manifest.metrics.signals.keys() == {"supervised", "preference", "policy", "kl"}
    assert manifest.metrics.kl_nats == pytest.approx(0.0089, abs=1e-4)
    assert (manifest.metrics.ended is None) == (manifest.format < 3)
    assert manifest.probes[0].reply
    assert [tried.is_chosen for tried in manifest.tries] == ([True, False] if manifest.format > 3 else [])
    adapter = read_adapter(version_in(sample))
    assert (adapter.rank, adapter.base_hash, adapter.steps) == (2, manifest.base_hash, 6)


@on_every_format
def test_the_pass_of_every_format_is_repeated_or_refused_by_name(
    sample: Path, warm: Callable[..., WarmEngine]
) -> None:
    recorded = json.loads((sample / "pass.json").read_text())
    form = recorded["form"]
    engine = warm(slots=form["slots"], rank=form["rank"], threads=form["threads"])
    if differing := engine.differs(form):
        with pytest.raises(FormDiffers, match=differing[0]):
            engine.learn([lesson_from(recorded["lesson"])], form=form)
        return
    (learned,) = engine.learn([lesson_from(recorded["lesson"])], form=form)
    assert isinstance(learned, Learned)
    then = read_adapter(version_in(sample))
    for name, matrices in then.weights.items():
        for before, after in zip(matrices, learned.state.weights[name], strict=True):
            # to the bit on the machine that made the sample; other processors round otherwise
            torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_metrics_that_format_1_left_out_are_absent_with_a_reason(tmp_path: Path) -> None:
    values = json.loads((version_in(SAMPLES / "format_1") / "manifest.json").read_text())["metrics"]
    del values["kl_nats"], values["clipped_share"]
    metrics = read_manifest(copy_with(tmp_path / "v1-0a1b2c", metrics=values)).metrics
    assert metrics.clipped_share is None
    assert isinstance(metrics.kl_nats, Absent)
    assert "format 1" in metrics.kl_nats.reason


def test_the_present_format_has_a_sample() -> None:
    assert [sample.name for sample in FORMATS] == [f"format_{number}" for number in range(1, FORMAT + 1)]


def test_every_field_since_the_first_format_has_a_default() -> None:
    later = [field for field in fields(Manifest) if field.name not in FIELDS_OF_FORMAT_1]
    assert [field.name for field in later if field.default is MISSING] == []


def test_a_newer_format_is_refused_with_both_formats_and_what_to_do(tmp_path: Path) -> None:
    newer = copy_with(tmp_path / "v9-0a1b2c", format=FORMAT + 1, a_field_of_tomorrow=1)
    with pytest.raises(NewerManifest) as refusal:
        read_manifest(newer)
    assert str(refusal.value) == (
        f"manifest.json of v9-0a1b2c has format {FORMAT + 1}, this clorad reads formats 1 to {FORMAT}: "
        "run the newer clorad that wrote it, or roll the agent back to an older version"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": ..., "turn": ...}, "it lacks seed, turn"),
        ({"colour": "blue"}, "it has unknown fields: colour"),
        ({"format": "2"}, "its format is not a number"),
        ({"format": 0}, "its format is not a number"),
        ({"format": True}, "its format is not a number"),
        ({"files": None, "seed": "1"}, "it has fields of another type: files, seed"),
        ({"metrics": {"steps": 3}}, "TrainingMetrics lacks already_known"),
        ({"probes": [{"token_ids": [1, 2]}]}, "Probe lacks base_logprobs"),
        ({"tries": 3}, "it has fields of another type: tries"),
        ({"tries": [{"steps": 6}]}, "RateTry lacks is_chosen"),
    ],
)
def test_a_file_that_is_not_a_manifest_is_damaged_with_a_reason(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DamagedManifest, match=f"v1-0a1b2c: {reason}"):
        read_manifest(copy_with(tmp_path / "v1-0a1b2c", **changes))


@pytest.mark.parametrize("content", [b"", b"torn {", b"[]", b"\xff\xfe"])
def test_a_torn_manifest_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DamagedManifest, match=tmp_path.name):
        read_manifest(tmp_path)


def lesson_from(values: dict[str, Any]) -> Lesson:
    """The lesson of a `pass.json`."""
    return Lesson(
        agent=values["agent"],
        parent=None,
        recipe=recipe_from(values["recipe"]),
        seed=values["seed"],
        episodes=tuple(_episode_from(episode) for episode in values["episodes"]),
    )


def _episode_from(values: dict[str, Any]) -> Episode:
    rejected, sampled = values["rejected"], values["spoken"]
    return Episode(
        events=tuple(values["events"]),
        part=Part(values["part"]),
        messages=tuple(values["messages"]),
        reply=_weighted_from(values["reply"]),
        rejected=None if rejected is None else _weighted_from(rejected),
        advantage=values["advantage"],
        sampled=sampled and SampledTokens(**{name: tuple(numbers) for name, numbers in sampled.items()}),
        mass=values["mass"],
    )


def _weighted_from(values: dict[str, Any]) -> Weighted:
    return Weighted(text=values["text"], spans=tuple(Span(**span) for span in values["spans"]))
