"""The lines that a rehearsal prints."""

from engine.measurements import Absent
from examples.house_rules.rehearsal import metrics_text
from tests.unit.engine.measurements import build_metrics


def test_metrics_are_printed_with_their_units() -> None:
    metrics = build_metrics(steps=24, learned_share=0.95, kept_share=None, kl_nats=0.0123456)
    assert metrics_text(metrics) == (
        "24 steps, corrections learned 95%, anchors kept none, KL on anchors 0.012 nats"
    )


def test_a_metric_that_was_not_measured_is_printed_with_its_reason() -> None:
    text = metrics_text(build_metrics(kl_nats=Absent("no anchors")))
    assert text.endswith("KL on anchors not measured (no anchors)")
