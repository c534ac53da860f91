"""A gauge tells what was set, at every look, until it is taken back."""

from uuid import uuid4

from opentelemetry import metrics

from feedback.gauge import Gauge
from tests.meters import metric_values


def build_gauge() -> tuple[Gauge, str]:
    name = f"test.{uuid4().hex}"
    return Gauge(metrics.get_meter("test"), name, unit="{thing}", description="things"), name


def test_what_was_set_is_told_again_and_again() -> None:
    gauge, name = build_gauge()
    gauge.set(2)
    gauge.set(3)
    assert metric_values(name) == metric_values(name) == {(): 3}


def test_values_stand_beside_others_with_other_labels() -> None:
    gauge, name = build_gauge()
    gauge.set(1, {"replica": "a"})
    gauge.set(2, {"replica": "b"})
    assert metric_values(name) == {(("replica", "a"),): 1, (("replica", "b"),): 2}


def test_what_is_replaced_or_withdrawn_is_told_no_more() -> None:
    gauge, name = build_gauge()
    gauge.set(7, {"partition": 0})
    gauge.replace([(8, {"partition": 1})])
    assert metric_values(name) == {(("partition", 1),): 8}
    gauge.withdraw()
    assert metric_values(name) == {}
