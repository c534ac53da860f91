"""Runs librdkafka's mock cluster on loopback, which the demo uses where Java is missing.

It stores nothing on disk, has no transactions, and its clients must pass `api_version=(2, 3)`. A test against
it is no test against Kafka.
"""

import argparse
import sys
import time
from collections.abc import Iterable
from threading import Event, Thread

from confluent_kafka import Producer

API_VERSION = (2, 3)
SESSION_MS = 2500  # for consumers of the mock: members of a group may join late


class MockCluster:
    """A cluster of one broker inside this process, from `start` until `stop`."""

    def __init__(self) -> None:
        self._stopping = Event()
        self._thread: Thread | None = None
        # The client holds the cluster; it sends nothing to it.
        self._client = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 4})

    def start(self) -> str:
        """Start the cluster. Returns the address that clients connect to."""
        self._thread = Thread(target=self._serve, name="mock-kafka", daemon=True)
        self._thread.start()
        brokers = self._client.list_topics(timeout=10.0).brokers
        return ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())

    def make(self, topics: Iterable[str]) -> None:
        """Make the topics. The mock makes a topic when a producer asks about it; it knows no other way."""
        for topic in topics:
            self._client.list_topics(topic, timeout=10.0)

    def stop(self) -> None:
        """Stop the client's thread. The cluster ends with this object."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._client.poll(0.5)


def main() -> int:
    """Run the mock until it is interrupted. The first line printed is the bootstrap address."""
    argparse.ArgumentParser(prog="python -m deploy.kafka.mock", description=__doc__).parse_args()
    cluster = MockCluster()
    print(cluster.start(), flush=True)
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
