"""Every repair is still needed: each test shows kafka-python's fault first, then the repair.

A test whose first half fails after an upgrade of kafka-python names a repair that can go.
"""

import gc
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, errors
from kafka.consumer.subscription_state import SubscriptionState
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.net.compat import KafkaNetClient
from kafka.net.transport import KafkaTCPTransport

from deploy.kafka.broker import free_port
from deploy.kafka.mock import API_VERSION, MockCluster
from feedback.kafka_patches import (
    PatchedConnections,
    build_client,
    close_producer,
    deliver_data_before_end,
    keep_joins_across_polls,
    silent_s,
)
from feedback.kafka_security import AccessRefused

POLL_MS = 50


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A log record that pytest keeps would keep the exception in it, and its sockets."""
    caplog.set_level(logging.CRITICAL, logger="kafka")


# A constructor that fails.


def connection_configs(**changed: Any) -> dict[str, Any]:
    """Of a client whose broker is not there."""
    return {
        "bootstrap_servers": f"127.0.0.1:{free_port()}",
        "bootstrap_timeout_ms": 500,
        "reconnect_backoff_ms": 10,
    } | changed


def test_a_constructor_that_fails_leaves_its_thread_behind() -> None:
    opened: list[Any] = []

    def connect(**given: Any) -> Any:
        opened.append(KafkaNetClient(**given))
        return opened[-1]

    before = threading.active_count()
    with pytest.raises(errors.KafkaTimeoutError):
        KafkaConsumer(**connection_configs(kafka_client=connect))
    assert threading.active_count() > before, "upstream"
    opened[0].close()
    await_threads(before)

    with pytest.raises(errors.KafkaTimeoutError):
        build_client(KafkaConsumer, connection_configs())
    await_threads(before)


def await_threads(count: int) -> None:
    until_s = time.monotonic() + 5.0
    while threading.active_count() > count:
        assert time.monotonic() < until_s, "a thread is left behind"
        time.sleep(0.01)


# Sockets of connections that failed.


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_refused_connections_leave_open_files_to_the_garbage_collector() -> None:
    assert open_files_after_refusals(KafkaNetClient) > 0, "upstream"
    assert open_files_after_refusals(PatchedConnections) == 0


def open_files_after_refusals(connections_class: Any) -> int:
    """Files that several refused connections of one bootstrap leave open, the collector apart."""
    gc.collect()
    gc.disable()
    try:
        before = open_files()
        connections = connections_class(**connection_configs())
        with pytest.raises(errors.KafkaTimeoutError):
            connections._manager.bootstrap(timeout_ms=500)
        connections.close()
        return open_files() - before
    finally:
        gc.enable()
        gc.collect()


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


# Brokers that refuse.


@pytest.fixture
def plain_server() -> Iterator[int]:
    """The port of a server that answers no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer_in_plain_text, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def answer_in_plain_text(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client:
            client.sendall(b"this is no TLS record")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bootstrap_that_every_broker_refuses_ends_as_a_timeout(plain_server: int) -> None:
    configs = connection_configs(
        bootstrap_servers=f"127.0.0.1:{plain_server}", security_protocol="SSL", bootstrap_timeout_ms=1000
    )
    connections = KafkaNetClient(**configs)
    with pytest.raises(errors.KafkaTimeoutError):  # upstream
        connections._manager.bootstrap(timeout_ms=1000)
    connections.close()
    del connections
    gc.collect()  # its sockets

    with pytest.raises(AccessRefused, match="TLS: wrong version number"):
        build_client(KafkaConsumer, configs)


# The last data of a connection.


class Received:
    """What a transport hands on."""

    _sensors = None

    def __init__(self) -> None:
        self.data = b""
        self.ended = threading.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, _fault: object) -> None:
        self.ended.set()


@pytest.mark.parametrize("repaired", [False, True])
def test_data_that_comes_with_the_end_of_a_connection_is_dropped(repaired: bool) -> None:
    connections = KafkaNetClient(**connection_configs())
    connections._net.start()
    received, calls = Received(), []
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        broker, _ = server.accept()
        with client, broker:
            broker.sendall(b"refused, because")
            broker.shutdown(socket.SHUT_RDWR)
            client.setblocking(False)
            transport = KafkaTCPTransport(connections._net, client)
            transport.set_protocol(received)
            if repaired:
                deliver_data_before_end(transport, lambda: calls.append(True))
            connections._manager.call_soon(transport.resume_reading)
            assert received.ended.wait(5.0)
    connections.close()
    assert received.data == (b"refused, because" if repaired else b"")
    assert len(calls) == repaired, "the end of a connection is no data"


# Topics that nobody made.


def test_the_option_against_making_topics_does_not_reach_the_requests() -> None:
    configs = connection_configs(api_version=API_VERSION, allow_auto_create_topics=False)
    upstream = KafkaConsumer(**configs)
    assert upstream._cluster.config["allow_auto_create_topics"] is True, "upstream"
    upstream.close()

    repaired = build_client(KafkaConsumer, configs)
    assert repaired._cluster.config["allow_auto_create_topics"] is False
    repaired.close()


# Brokers that went away.


def test_a_consumer_that_knows_only_dead_addresses_polls_without_an_error() -> None:
    cluster = MockCluster()
    configs = {"bootstrap_servers": cluster.start(), "api_version": API_VERSION, "request_timeout_ms": 1000}
    cluster.make(["t"])
    consumer = build_client(KafkaConsumer, configs | {"group_id": None, "fetch_max_wait_ms": 100})
    consumer.subscribe(["t"])
    consumer.poll(timeout_ms=1000)
    assert silent_s(consumer) < 5.0
    cluster.stop()
    del cluster
    gc.collect()  # the brokers end with their client
    for _ in range(5):
        assert consumer.poll(timeout_ms=200) == {}, "upstream: no error"
    assert silent_s(consumer) > 0.7
    consumer.close()


# A producer that cannot flush.


def test_closing_a_producer_that_cannot_flush_leaves_its_thread_running() -> None:
    producer = build_client(KafkaProducer, connection_configs(api_version=API_VERSION, max_block_ms=100))
    flush, producer.flush = producer.flush, refuse_to_flush
    with pytest.raises(errors.KafkaTimeoutError):
        producer.close(timeout=0.1)
    producer._sender.join(timeout=0.3)
    assert producer._sender.is_alive(), "upstream"

    close_producer(producer, wait_s_max=0.1)
    producer._sender.join(timeout=5.0)
    assert not producer._sender.is_alive()
    producer.flush = flush


def refuse_to_flush(_timeout: float) -> None:
    raise errors.KafkaTimeoutError


# Joins of the group that outlast a poll; row 19 of the fault table shows them on a real broker.


class Coordinator(ConsumerCoordinator):
    """kafka-python's own, but for what it says on the wire: JoinGroup ends when the test says so."""

    def __init__(self, connections: Any) -> None:
        subscription = SubscriptionState("none")
        subscription.subscribe(topics=["t"])
        super().__init__(
            connections,
            subscription,
            metrics=None,
            group_id="g",
            api_version=API_VERSION,
            assignors=[CooperativeStickyAssignor],
            enable_auto_commit=False,
        )
        self.requests = 0
        self.answered = threading.Event()
        self.answered.set()
        self.applied: list[bytes] = []
        self.fault: BaseException | None = None

    async def ensure_coordinator_ready_async(self, timeout_ms: float | None = None) -> bool:
        return True

    async def _on_join_prepare_async(self, *_: object, **__: object) -> None:
        pass

    async def _do_join_and_sync_async(self) -> bytes:
        self.requests += 1
        number = self.requests
        self.group_protocols()
        while not self.answered.is_set():
            await self._net.sleep(0.01)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        self._generation = Generation()
        self._assignment_snapshot = self._metadata_snapshot  # as a leader does that has assigned
        return b"assignment %d" % number

    async def _on_join_complete_async(self, _g: object, _m: object, _p: object, assignment: bytes) -> None:
        self.applied.append(assignment)

    def poll_once(self) -> bool:
        """Whether the member is in its group, as one short poll sees it."""
        return bool(self._net.run(self.join_group_async, POLL_MS))

    def change_partitions(self) -> None:
        """A leader joins again because the topic has more partitions."""
        self._metadata_snapshot = {"t": {0, 1}}

    def answer(self) -> None:
        """The broker answers the request that is under way, between two polls."""
        self.answered.set()
        until_s = time.monotonic() + 5.0
        while not self._join_task.is_done:
            assert time.monotonic() < until_s
            time.sleep(0.01)


class Generation:
    """Of the group; each join has its own."""

    generation_id, member_id, protocol = 1, "m", "cooperative-sticky"


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    """Of a leader that has joined its group."""
    connections = KafkaNetClient(**connection_configs(api_version=API_VERSION))
    connections._net.start()
    coordinator = Coordinator(connections)
    yield coordinator
    connections.close()


class Consumer:
    """As much of kafka-python's as has a coordinator."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator


def begin_slow_rejoin(coordinator: Coordinator) -> None:
    """The leader has joined; it joins again, and the broker has not answered when the poll ends."""
    assert coordinator.poll_once()
    coordinator.answered.clear()
    coordinator.change_partitions()
    assert not coordinator.poll_once()


def test_a_leader_forgets_why_it_joins_again(coordinator: Coordinator) -> None:
    begin_slow_rejoin(coordinator)
    coordinator.answer()
    assert coordinator.poll_once(), "it takes itself for a member"
    assert coordinator.applied == [b"assignment 1"], "upstream: the new assignment is never applied"
    assert coordinator.rejoining, "upstream: its heartbeats are off"


def test_a_join_that_ends_between_two_polls_is_thrown_away(coordinator: Coordinator) -> None:
    coordinator.answered.clear()
    assert not coordinator.poll_once()
    coordinator.answer()
    assert coordinator.poll_once()
    assert coordinator.requests == 2, "upstream: it asks again"
    assert coordinator.applied == [b"assignment 2"], "upstream: the first answer is dropped"


def test_a_repaired_leader_applies_the_assignment_it_was_waiting_for(coordinator: Coordinator) -> None:
    keep_joins_across_polls(Consumer(coordinator))
    begin_slow_rejoin(coordinator)
    coordinator.answer()
    assert coordinator.poll_once()
    assert coordinator.applied == [b"assignment 1", b"assignment 2"]
    assert not coordinator.rejoining


def test_a_repaired_member_applies_a_join_that_ended_between_two_polls(coordinator: Coordinator) -> None:
    keep_joins_across_polls(Consumer(coordinator))
    coordinator.answered.clear()
    assert not coordinator.poll_once()
    coordinator.answer()
    assert coordinator.poll_once()
    assert coordinator.requests == 1
    assert coordinator.applied == [b"assignment 1"]


def test_the_join_after_an_applied_one_is_a_new_request(coordinator: Coordinator) -> None:
    keep_joins_across_polls(Consumer(coordinator))
    begin_slow_rejoin(coordinator)
    coordinator.answer()
    assert coordinator.poll_once()
    coordinator.change_partitions()
    coordinator._metadata_snapshot = {"t": {0, 1, 2}}
    assert coordinator.poll_once()
    assert coordinator.applied[-1] == b"assignment 3"


def test_a_member_that_lost_its_membership_meanwhile_joins_anew(coordinator: Coordinator) -> None:
    keep_joins_across_polls(Consumer(coordinator))
    coordinator.answered.clear()
    assert not coordinator.poll_once()
    coordinator.answer()
    coordinator._generation = Generation()
    assert coordinator.poll_once()
    assert coordinator.applied == [b"assignment 2"]


def test_a_join_that_fails_is_requested_again(coordinator: Coordinator) -> None:
    keep_joins_across_polls(Consumer(coordinator))
    coordinator.answered.clear()
    coordinator.fault = errors.RebalanceInProgressError()
    assert not coordinator.poll_once()
    coordinator.answer()
    assert coordinator.poll_once()
    assert coordinator.applied == [b"assignment 2"]
