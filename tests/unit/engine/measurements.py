"""Builds ordinary training metrics."""

from dataclasses import replace
from typing import Any

from engine.measurements import End, TrainingMetrics


def build_metrics(**changes: Any) -> TrainingMetrics:
    """Three steps on four corrections."""
    plain = TrainingMetrics(
        steps=3,
        steps_skipped=0,
        stopped_early=False,
        new=4,
        replay=0,
        anchors=0,
        dev=0,
        refused=0,
        already_known=0,
        tokens=300,
        gradient_norm_max=1.0,
        loss_first_nats=2.0,
        loss_last_nats=1.0,
        signals={"supervised": 0.5},
        clipped_share=None,
        gap_nats=None,
        truncated_share=None,
        dev_loss_first_nats=None,
        dev_loss_last_nats=None,
        ended=End.LEARNED,
        learned_share=1.0,
        kept_share=None,
        learning_rate=1e-3,
        kl_nats=0.01,
    )
    return replace(plain, **changes)
