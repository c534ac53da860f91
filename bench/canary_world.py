"""What a live canary of a benchmark runs in: a gateway and the loops of intake and fleet, without Kafka."""

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from daemon.limit_settings import LimitSettings
from daemon.roles.gateway import access_of, fields_of, limits_of
from daemon.settings import GatewaySettings
from deploy.kafka.broker import free_port
from feedback.producer import KafkaRecord, Sent
from feedback.reading import Reader
from feedback.redaction import Redactor
from feedback.signing import gateway_key
from ledger.database import Database
from ledger.events import Batch, Partition
from ledger.identity import Identity
from ledger.intake import transaction
from ledger.topic_names import DEAD_LETTERS_TOPIC, FEEDBACK_TOPIC
from serving.canary.steps import CanaryOptions
from serving.canary.watching import run_canaries
from serving.gateway.app import Gateway, GatewayOptions, run_gateway
from serving.gateway.feedback_endpoint import FeedbackEndpoint
from serving.gateway.live_counter import LiveCounter
from serving.gateway.recorder import Recorder
from serving.gateway.routing import RoutingTable


class Loopback:
    """In place of Kafka and of the intake role: reads each record and stores it, a few at a time."""

    def __init__(self, database: Database, identity: Identity, redactor: Redactor) -> None:
        self._database = database
        self._reader = Reader(identity, redactor)
        self._waiting: queue.SimpleQueue[tuple[KafkaRecord, Future[Sent]]] = queue.SimpleQueue()
        self._partition = Partition(cluster_id="bench", topic=FEEDBACK_TOPIC, topic_id="bench", number=0)
        self._offset = transaction.start_at(database, self._partition, 0)

    def send(self, record: KafkaRecord) -> Future[Sent]:
        """As `feedback.producer.Producer.send`."""
        future: Future[Sent] = Future()
        self._waiting.put((record, future))
        return future

    def run(self, over: threading.Event) -> None:
        """Store what was sent every 50 ms until `over` is set."""
        while not over.wait(0.05):
            taken = []
            while not self._waiting.empty():
                taken.append(self._waiting.get())
            if taken:
                self._store(taken)

    def _store(self, taken: list[tuple[KafkaRecord, Future[Sent]]]) -> None:
        start, self._offset = self._offset, self._offset + len(taken)
        arrivals = tuple(
            self._reader.read(
                offset=start + place,
                key=record.key,
                value=record.value,
                headers=record.headers,
                received_s=time.time(),
            )
            for place, (record, _) in enumerate(taken)
        )
        batch = Batch(partition=self._partition, start=start, end=self._offset, arrivals=arrivals)
        kept = transaction.keep(self._database, [batch], dead_letter_topic=DEAD_LETTERS_TOPIC)
        assert not kept.dead, kept.dead
        for place, (record, future) in enumerate(taken):
            future.set_result(Sent(topic=record.topic, partition=0, offset=start + place))


class Silent:
    """Takes the gateway's reports on its health."""

    def alive(self, name: str) -> None:
        """Nobody asks."""

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        """Nobody asks."""


@contextmanager
def running_canary(
    database: Database,
    identity: Identity,
    redactor: Redactor,
    loopback: Loopback,
    options: CanaryOptions,
) -> Iterator[str]:
    """A gateway that listens, and the loops of intake and of the fleet's leader. Its URL."""
    port, over, stopping = free_port(), threading.Event(), threading.Event()
    gateway = Gateway(
        table=RoutingTable(database),
        recorder=Recorder(loopback.send, redactor, share=0.0, bytes_max=1 << 20),
        live=LiveCounter(loopback.send, identity.fingerprint),
        feedback=FeedbackEndpoint(loopback.send, redactor, gateway_key(identity)),
        options=GatewayOptions(
            host="127.0.0.1",
            port=port,
            limits=limits_of(LimitSettings(requests_per_s_max=1_000_000)),
            fields=fields_of(GatewaySettings()),
            access=access_of(GatewaySettings()),
            request_s_max=30.0,
            shutdown_delay_s=0.0,
        ),
    )
    with ThreadPoolExecutor(3) as pool:
        loops = [
            pool.submit(loopback.run, over),
            pool.submit(run_canaries, database, options, over),
            pool.submit(run_gateway, gateway, stopping, Silent()),
        ]
        try:
            while gateway.table.current is None:
                assert not any(loop.done() for loop in loops), "a loop ended"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            stopping.set()
            loops[2].result()
            over.set()
    for loop in loops:
        loop.result()
