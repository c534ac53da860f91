"""Metrics and probes are read from JSON as they were written; other values are refused by name."""

import json
from typing import Any

import pytest

from engine.measurements import Absent, Probe, TrainingMetrics
from tests.unit.engine.measurements import build_metrics

PROBE = Probe(
    token_ids=(1, 2, 3, 4),
    prompt_tokens=2,
    likely=((3, 5), (4,)),
    logprobs=((-0.1, -2.0), (-0.3,)),
    base_logprobs=((-1.1, -0.5), (-3.0,)),
)


@pytest.mark.parametrize(
    "metrics",
    [
        build_metrics(),
        build_metrics(kl_nats=Absent("no anchors"), clipped_share=0.25, gap_nats=0.01, truncated_share=0.0),
        build_metrics(stopped_early=True, dev_loss_first_nats=1.0, dev_loss_last_nats=2.0, signals={}),
        build_metrics(ended=None, learned_share=None, learning_rate=None),
    ],
)
def test_metrics_come_back_as_they_were(metrics: TrainingMetrics) -> None:
    assert TrainingMetrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


def test_a_probe_comes_back_as_it_was() -> None:
    assert Probe.from_json(json.loads(json.dumps(PROBE.to_json()))) == PROBE
    assert PROBE.reply == (3, 4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"steps": ...}, "lacks steps"),
        ({"colour": 1}, "unknown fields: colour"),
        ({"kl_nats": None}, "of another type: kl_nats"),
        ({"kl_nats": {"absent": 3}}, "of another type: kl_nats"),
        ({"loss_last_nats": None}, "of another type: loss_last_nats"),
        ({"tokens": 1.5, "stopped_early": 1}, "of another type: stopped_early, tokens"),
        ({"ended": "bored", "learning_rate": "fast"}, "of another type: ended, learning_rate"),
        ({"signals": {"kl": "much"}}, "of another type: signals"),
        ({"signals": {"dpo": 1.0}}, "of another type: signals"),
    ],
)
def test_metrics_of_another_shape_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TrainingMetrics.from_json(_changed(build_metrics().to_json(), changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"likely": ...}, "lacks likely"),
        ({"likely": 7}, "lists"),
        ({"prompt_tokens": 2.0}, "int numbers"),
        ({"prompt_tokens": 0}, "prompt"),
        ({"prompt_tokens": 3}, "a row for each token"),
        ({"logprobs": [[-0.1], [-0.3]]}, "a number for each likely token"),
        ({"logprobs": [["x", -2.0], [-0.3]]}, "float numbers"),
    ],
)
def test_a_probe_of_another_shape_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Probe.from_json(_changed(json.loads(json.dumps(PROBE.to_json())), changes))


@pytest.mark.parametrize("values", [None, [], "probe"])
def test_a_value_that_is_not_an_object_is_refused(values: Any) -> None:
    for noun in (Probe, TrainingMetrics):
        with pytest.raises(ValueError, match="not a JSON object"):
            noun.from_json(values)


def _changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The values with changes; a field that becomes `...` is left out."""
    return {name: value for name, value in {**values, **changes}.items() if value is not ...}
