"""Corrections of some 1 KB on a topic: a backlog said as fast as Kafka takes it, or so many a second."""

import time
from collections import deque
from typing import Any

from bench.journal import correction, headers
from feedback.connection import Cluster

IN_FLIGHT_MAX = 1000
ACK_S_MAX = 120.0
SECRET = "ask jane.doe@example.com, the card is 4111 1111 1111 1111"


def value_of(number: int, *, hits_share: float) -> bytes:
    """A correction; in that share of them something is to be redacted."""
    hit = hits_share > 0 and number % round(1 / hits_share) == 0
    return correction(number, said=SECRET if hit else "")


def fill(cluster: Cluster, topic: str, *, events: int, partitions: int, hits_share: float = 0.0) -> None:
    """So many events are in the topic, acknowledged, spread over its partitions."""
    client = cluster.producer(acks="all", linger_ms=20, batch_size=1 << 18)
    waiting: deque[Any] = deque()
    try:
        for number in range(events):
            waiting.append(_send(client, topic, number, number % partitions, hits_share))
            while len(waiting) > IN_FLIGHT_MAX:
                waiting.popleft().get(timeout=ACK_S_MAX)
        for sent in waiting:
            sent.get(timeout=ACK_S_MAX)
    finally:
        client.close(timeout=10.0)


def pace(
    cluster: Cluster, topic: str, *, first: int, events: int, per_s: float, partitions: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Say so many events at that rate. Returns when each was said and when Kafka had it (s since 1970)."""
    client = cluster.producer(acks="all", linger_ms=0)
    said: dict[str, float] = {}
    acknowledged: dict[str, float] = {}
    waiting: list[Any] = []
    try:
        client.partitions_for(topic)
        begun_s = time.monotonic()
        for place in range(events):
            early_s = begun_s + place / per_s - time.monotonic()
            if early_s > 0:
                time.sleep(early_s)
            id = f"e-{first + place}"
            said[id] = time.time()
            waiting.append(_send(client, topic, first + place, place % partitions, 0.0))
            waiting[-1].add_callback(lambda _, id=id: acknowledged.update({id: time.time()}))
        for sent in waiting:
            sent.get(timeout=ACK_S_MAX)
    finally:
        client.close(timeout=10.0)
    return said, acknowledged


def _send(client: Any, topic: str, number: int, partition: int, hits_share: float) -> Any:
    value = value_of(number, hits_share=hits_share)
    return client.send(topic, value=value, headers=list(headers(f"e-{number}").items()), partition=partition)
