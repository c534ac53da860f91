"""Repairs kafka-python 3.0.12; no other module touches its private attributes.

Each repair says what kafka-python does without it ("Upstream"); no upstream issue is known for any of them.
`tests/unit/feedback/test_kafka_patches.py` shows every fault on kafka-python alone. A test there that fails
after an upgrade names the repair that can go.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from traceback import clear_frames
from typing import Any

from kafka import errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.record import default_records, legacy_records

from feedback import unpacking
from feedback.envelope import VALUE_BYTES_MAX
from feedback.kafka_security import AccessRefused, refusal_reason


def build_client(client_class: Any, configs: Mapping[str, Any]) -> Any:
    """A kafka-python client on `PatchedConnections`. Raises what its constructor raises.

    Upstream: a constructor that fails leaves its I/O thread and sockets behind. Upstream: the option
    `allow_auto_create_topics` does not reach metadata requests, so a mistyped name makes a topic with the
    broker's default retention.
    """
    bound_unpacking()
    opened: list[PatchedConnections] = []

    def connect(**client_configs: Any) -> PatchedConnections:
        opened.append(PatchedConnections(**client_configs))
        opened[-1].cluster.config["allow_auto_create_topics"] = False
        return opened[-1]

    try:
        return client_class(**configs, kafka_client=connect)
    except BaseException:
        for connections in opened:
            connections.close()
        raise


def bound_unpacking() -> None:
    """Make all clients of this process unpack batches within `unpacking.BYTES_MAX`.

    Upstream: a batch is unpacked whole, whatever its size. Afterwards each record of a batch that exceeds the
    bound has the beginning of the unpacked batch as its value, too large for an event. In the message
    formats before version 2 the records' offsets are packed too: such a batch cannot be read.
    """
    for records in (default_records, legacy_records):
        records.gzip_decode = unpacking.gzip_decode
        records.snappy_decode = unpacking.snappy_decode
        records.lz4_decode = unpacking.lz4_decode
    default_records.zstd_decode = unpacking.zstd_decode
    default_records.DefaultRecordBatch.__iter__ = _bounded_records


def _bounded_records(batch: Any) -> Iterator[Any]:
    try:
        batch._maybe_uncompress()
    except unpacking.UnpacksTooLarge as fault:
        beginning = fault.beginning[: VALUE_BYTES_MAX + 1].ljust(VALUE_BYTES_MAX + 1)
        # Compaction leaves holes, and which offsets those are is packed too: none of them is passed over.
        count = batch.last_offset_delta + 1
        return (
            default_records.DefaultRecord(
                len(beginning),
                batch.base_offset + place,
                batch.first_timestamp,
                batch.timestamp_type,
                None,
                beginning,
                [],
            )
            for place in range(count)
        )
    unpacked: Iterator[Any] = batch
    return unpacked


def silent_s(client: Any) -> float:
    """Seconds since a broker last sent anything to a client of `build_client`.

    Upstream: a consumer that knows only dead addresses polls on without an error.
    """
    return time.monotonic() - float(client._client._manager.last_data_s)


def close_producer(producer: Any, *, wait_s_max: float) -> None:
    """End the producer's thread; send records in flight if that takes at most `wait_s_max` seconds.

    Upstream: `close` raises `KafkaTimeoutError` when the flush takes too long, and its thread runs on.
    """
    try:
        producer.close(timeout=wait_s_max)
    except errors.KafkaTimeoutError:
        producer._sender.force_close()


def keep_joins_across_polls(consumer: Any) -> None:
    """Continue in the next poll a join of the group that takes longer than one poll.

    Upstream, when the JoinGroup answer takes longer than `poll`: a leader that joins again because the
    partitions changed forgets the reason once it has assigned them, and a join that ends between two polls is
    thrown away. Either way the member is outside its group, sends no heartbeat and does not notice.
    """
    _Joins(consumer._coordinator)


def deliver_data_before_end(transport: Any, on_data: Callable[[], None] = lambda: None) -> None:
    """Read data that arrives together with the end of a connection. `on_data` is called for all data.

    Upstream: `_sock_recv` returns data and the end at once, and the caller drops the data. A broker that
    refuses a client sends the reason and hangs up.
    """
    receive: Callable[[], tuple[bytes, Any]] = transport._sock_recv

    def data_first() -> tuple[bytes, Any]:
        data, fault = receive()
        if data:
            on_data()
        return data, None if data else fault

    transport._sock_recv = data_first


def release_sockets(fault: BaseException | None) -> None:
    """Remove sockets from the frames in the traceback of a failed connection.

    Upstream: the exception and its frames refer to each other, so each socket stays open until the garbage
    collector runs. While brokers are away, open files pile up.
    """
    while fault is not None:
        clear_frames(fault.__traceback__)
        fault = fault.__context__


class PatchedConnections(KafkaNetClient):  # type: ignore[misc]
    """kafka-python's connections with the repairs of this module."""

    def __init__(self, **configs: Any) -> None:
        net = NetworkSelector(**configs)
        super().__init__(net=net, manager=_Manager(net, **configs))


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    """Upstream: a bootstrap that every broker refuses (TLS, SASL) tries on and ends as a timeout."""

    def __init__(self, net: Any, **configs: Any) -> None:
        super().__init__(net, **configs)
        self.last_data_s = time.monotonic()
        self._refusals: dict[Any, AccessRefused] = {}

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        try:
            transport = await super()._build_transport(node, timeout_at=timeout_at)
        except errors.KafkaConnectionError as fault:
            release_sockets(fault)
            raise
        deliver_data_before_end(transport, self._note_data)
        return transport

    def _note_data(self) -> None:
        self.last_data_s = time.monotonic()

    async def _connect(self, node: Any, conn: Any, *given: Any, **options: Any) -> None:
        await super()._connect(node, conn, *given, **options)
        self._refusals.pop(node.node_id, None)
        if conn.init_future.failed() and (reason := refusal_reason(conn.init_future.exception)):
            self._refusals[node.node_id] = AccessRefused(reason)
        bootstrap = {broker.node_id for broker in self.cluster.bootstrap_brokers()}
        if bootstrap <= self._refusals.keys():
            self._auth_failures |= self._refusals  # the next `get_connection` raises it


class _Joins:
    """Replaces two methods of kafka-python's coordinator."""

    def __init__(self, coordinator: Any) -> None:
        self._coordinator = coordinator
        self._need_rejoin, self._join = coordinator.need_rejoin, coordinator._do_join_and_sync_async
        self._ended: tuple[Any, Any] | None = None  # generation and assignment of a join not yet applied
        coordinator.need_rejoin = self.need_rejoin
        coordinator._do_join_and_sync_async = self.join

    def need_rejoin(self) -> bool:
        """True also while a join is under way, as in Java's consumer."""
        under_way = bool(self._coordinator.rejoining)
        if not under_way:
            self._ended = None  # its assignment was applied
        return bool(self._need_rejoin()) or under_way

    async def join(self) -> Any:
        """The assignment. A join that ended unseen in the same generation gives it without a new request."""
        if self._ended is None or self._ended[0] is not self._coordinator._generation:
            self._ended = None
            assignment = await self._join()
            self._ended = (self._coordinator._generation, assignment)
        return self._ended[1]
