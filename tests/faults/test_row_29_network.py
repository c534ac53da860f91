"""Row 29. A slow, cut or half-open network is timed out and got over."""

import time

import pytest

from tests.faults.load import Load

pytestmark = pytest.mark.kafka


def test_row_29_connections_cut_again_and_again(proxied_broker, kept, start):
    kafka, proxy, _ = proxied_broker
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics, on=kafka)
    for _ in range(5):
        load.say(100)
        proxy.cut()
    load.arrives(kept)
    assert process.ended is None


def test_row_29_a_network_of_two_seconds_delay(proxied_broker, kept, start):
    kafka, proxy, _ = proxied_broker
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    load.say(200)
    process = start(topics, on=kafka, options={"session_ms": 20_000})
    time.sleep(3.0)
    proxy.delay_s = 1.0  # each way
    load.arrives(kept, wait_s=150.0)
    proxy.delay_s = 0.0
    assert process.ended is None


def test_row_29_connections_that_are_open_and_silent(proxied_broker, kept, start):
    kafka, proxy, _ = proxied_broker
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics, on=kafka, kafka={"request_timeout_ms": 8000, "fetch_max_wait_ms": 500})
    load.say(100)
    load.arrives(kept)
    proxy.silent = True
    time.sleep(12.0)
    proxy.cut()
    proxy.silent = False
    load.say(100)
    load.arrives(kept, wait_s=90.0)
    assert process.ended is None


def test_row_29_a_broker_out_of_reach_for_a_while(proxied_broker, kept, start):
    kafka, proxy, _ = proxied_broker
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start(topics, on=kafka)
    load.say(100)
    load.arrives(kept)
    where, proxy.target = proxy.target, 1
    proxy.cut()
    time.sleep(5.0)
    proxy.target = where
    load.say(100)
    load.arrives(kept, wait_s=60.0)
    assert process.ended is None
