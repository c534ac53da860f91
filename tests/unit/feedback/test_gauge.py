"""A gauge tells what was set, at every look, until it is taken back."""

from uuid import uuid4

from opentelemetry import metrics

from feedback.gauge import Gauge
from tests.meters import told


def gauge() -> tuple[Gauge, str]:
    name = f"test.{uuid4().hex}"
    return Gauge(metrics.get_meter("test"), name, unit="{thing}", description="things"), name


def test_what_was_set_is_told_again_and_again() -> None:
    one, name = gauge()
    one.set(2)
    one.set(3)
    assert told(name) == told(name) == {(): 3}


def test_values_stand_beside_others_with_other_labels() -> None:
    one, name = gauge()
    one.set(1, {"replica": "a"})
    one.set(2, {"replica": "b"})
    assert told(name) == {(("replica", "a"),): 1, (("replica", "b"),): 2}


def test_what_is_replaced_or_withdrawn_is_told_no_more() -> None:
    one, name = gauge()
    one.set(7, {"partition": 0})
    one.replace([(8, {"partition": 1})])
    assert told(name) == {(("partition", 1),): 8}
    one.withdraw()
    assert told(name) == {}
