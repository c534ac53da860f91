"""Row 4. A coordinator that moves or refuses is lived with; a commit that fails harms nothing."""

import time

import pytest

from tests.faults.load import Load
from tests.unit.feedback.taking_in import until

pytestmark = pytest.mark.kafka

ERRORS = {
    "loading": 14,
    "not available": 15,
    "not coordinator": 16,
    "generation": 22,
    "member": 25,
    "rebalance": 27,
}


@pytest.mark.parametrize("api", ["heartbeat", "join_group", "sync_group"])
def test_row_04_errors_of_the_coordinator_are_lived_with(proxied_broker, kept, start, api):
    kafka, proxy, _ = proxied_broker
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics, on=kafka)
    load.say(50)
    load.arrives(kept)
    for code in ERRORS.values():
        if api != "heartbeat":
            proxy.lie("heartbeat", ERRORS["member"])  # so that it joins again
        proxy.lie(api, code)
        until(lambda: sum(proxy.lies.values()) == 0)
        load.say(20)
        load.arrives(kept)
    assert process.ended is None


def test_row_04_a_coordinator_that_dies_is_replaced(three_brokers, kept, start):
    kafka = three_brokers.kafka
    topics = kafka.create_all(replicas=3)
    load = Load(kafka, topics.feedback)
    process = start(topics, on=kafka, options={"group": "moving"})
    load.say(100)
    load.arrives(kept)
    coordinator = three_brokers.coordinator_of("moving")
    coordinator.kill()
    time.sleep(3.0)
    load.say(100)
    load.arrives(kept, wait_s=120.0)
    assert process.ended is None
