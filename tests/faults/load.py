"""What producers say while things break, and how to see that all of it has one fate."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.kafka_broker import RealKafka
from tests.unit.feedback.event_builder import CORRECTION, build_headers
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

BROKEN = b"{broken"


@dataclass
class Load:
    """Of ten records one is broken and one repeats the event before it; the rest are new corrections."""

    kafka: RealKafka
    topic: str
    partitions: int = 2
    ids: set[str] = field(default_factory=set)
    broken: int = 0
    sent: int = 0

    def send(self, number: int) -> None:
        """So many records more, each acknowledged."""
        producer = self.kafka.cluster.producer(acks="all", linger_ms=5)
        try:
            sent = [producer.send(self.topic, **record) for record in self._records(number)]
            for future in sent:
                future.get(timeout=60)
        finally:
            producer.close(timeout=10)

    def is_kept(self, ledger: IntakeLedger) -> bool:
        """Every event is in the ledger once, every broken record among the dead letters once."""
        return set(ledger.ids()) == self.ids and len(ledger.dead_letter_reasons()) == self.broken

    def wait_until_kept(self, ledger: IntakeLedger, wait_s: float = 60.0) -> None:
        """It is so in time, and the ledger's ranges add up."""
        wait_until(lambda: self.is_kept(ledger), wait_s)
        ledger.check_ranges()

    def _records(self, number: int) -> Iterator[dict[str, Any]]:
        for count in range(self.sent, self.sent + number):
            yield self._record(count)
        self.sent += number

    def _record(self, count: int) -> dict[str, Any]:
        event_id = f"e-{count - 1 if count % 10 == 9 else count}"
        if count % 10 == 5:
            self.broken += 1
            value = BROKEN
        else:
            self.ids.add(event_id)
            value = json.dumps(CORRECTION | {"corrected": event_id}).encode()
        given: Sequence[tuple[str, bytes | None]] = build_headers("correction", ce_id=event_id.encode())
        # A repeat goes where the event went: two partitions have no order between them.
        partition = (count - 1 if count % 10 == 9 else count) % self.partitions
        return {"value": value, "headers": list(given), "partition": partition}
