"""Sends corrections of about 1 KB to a topic: as fast as Kafka takes them, or at a given rate."""

import time
from collections import deque
from typing import Any

from bench.journal import correction, headers
from feedback.connection import Cluster

IN_FLIGHT_MAX = 1000
ACK_S_MAX = 120.0
SECRET = "ask jane.doe@example.com, the card is 4111 1111 1111 1111"


def value_of(number: int, *, hits_share: float) -> bytes:
    """A correction. In a share of `hits_share` of them there is something to redact."""
    hit = hits_share > 0 and number % round(1 / hits_share) == 0
    return correction(number, corrected=SECRET if hit else "")


def fill(cluster: Cluster, topic: str, *, events: int, partitions: int, hits_share: float = 0.0) -> None:
    """Send this many events, spread over the partitions, and wait until all are acknowledged."""
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
    """Send this many events at a rate. Returns, by id, the times of sending and of acknowledgement (Unix)."""
    client = cluster.producer(acks="all", linger_ms=0)
    sent_s: dict[str, float] = {}
    acknowledged_s: dict[str, float] = {}
    waiting: list[Any] = []
    try:
        client.partitions_for(topic)
        began_s = time.monotonic()
        for place in range(events):
            early_s = began_s + place / per_s - time.monotonic()
            if early_s > 0:
                time.sleep(early_s)
            id = f"e-{first + place}"
            sent_s[id] = time.time()
            waiting.append(_send(client, topic, first + place, place % partitions, 0.0))
            waiting[-1].add_callback(lambda _, id=id: acknowledged_s.update({id: time.time()}))
        for sent in waiting:
            sent.get(timeout=ACK_S_MAX)
    finally:
        client.close(timeout=10.0)
    return sent_s, acknowledged_s


def _send(client: Any, topic: str, number: int, partition: int, hits_share: float) -> Any:
    value = value_of(number, hits_share=hits_share)
    return client.send(topic, value=value, headers=list(headers(f"e-{number}").items()), partition=partition)
