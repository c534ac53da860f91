"""Measures how fast intake stores events: a real broker, one intake process, SQLite (FULL) and Postgres.

The baseline is a plain kafka-python consumer that discards the same records. Rates are measured between the
first transaction and the last, by the ledger's clock, without starting up and joining the group. A long
backlog shows how memory grows, and `clorad audit` is timed on the ledger that it filled.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kafka import TopicPartition
from sqlalchemy import func, select

from bench import hostile
from bench.audit import audit_s
from bench.backlog import fill, pace
from bench.commit import commit
from bench.journal import AGENT
from bench.member import Member
from bench.percentile import percentile
from deploy.kafka.broker import LocalBroker, free_port
from feedback.connection import Kafka
from feedback.topics import Topics, create
from ledger.database import Database
from ledger.learning import agents
from ledger.schema import events, ranges
from tests import postgres_server

PARTITIONS = 6
WAIT_S_MAX = 1800.0
WARM_SHARE = 0.1  # of a backlog: after it, buffers and caches have their final size
HITS_SHARE = 0.05
BARS = {
    "sqlite_events_per_s": 5000.0,
    "sqlite_redacted_events_per_s": 2500.0,
    "latency_ms_p99": 250.0,
    "rss_growth_mib": 20.0,
    "audit_s": 2.0,
}
_UPPER = ("latency_ms_p99", "rss_growth_mib", "audit_s")  # these bars are upper limits, the others lower ones


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLoad:
    """How much is measured."""

    events: int
    paced_s: float
    per_s: float
    backlog: int  # events, for memory and audit; 0: not measured


QUICK = IntakeLoad(events=6_000, paced_s=5.0, per_s=1000.0, backlog=0)
FULL = IntakeLoad(events=100_000, paced_s=60.0, per_s=1000.0, backlog=1_000_000)


@dataclass(slots=True, kw_only=True)
class Bench:
    """The broker, and what each measurement gets of its own: topics, a group, a ledger."""

    folder: Path
    broker: LocalBroker
    cluster: Kafka
    runs: int = 0

    def topics(self, name: str) -> dict[str, str]:
        """Make a set of topics whose names begin with `name`."""
        return self.create(
            Topics(**{field: f"{name}-{field.replace('_', '-')}" for field in asdict(Topics())})
        )

    def create(self, topics: Topics) -> dict[str, str]:
        """Make these topics."""
        create(self.cluster, topics, partitions=PARTITIONS, replication=1)
        return asdict(topics)

    @contextmanager
    def intake(self, url: str, topics: dict[str, str], **options: Any) -> Iterator[tuple[Database, Member]]:
        """Run one intake process on the ledger at `url` until the block ends."""
        self.runs += 1
        database = Database(url)
        database.migrate()
        agents.declare(
            database,
            agents.Agent(
                name=AGENT, base_hash="0" * 64, scorer="exact", recipe={}, capture=False, weight=1.0
            ),
        )
        member = Member(
            "intake",
            self.folder / "intake.log",
            bootstrap=self.broker.bootstrap,
            ledger=url,
            topics=topics,
            group=f"bench-{self.runs}",
            **options,
        )
        try:
            yield database, member
            member.signal(signal.SIGTERM)
            member.wait(wait_s_max=30.0)
        finally:
            member.kill()
            database.close()

    def ledger(self) -> str:
        """The URL of a new SQLite ledger."""
        return f"sqlite:///{self.folder / f'ledger-{self.runs}.db'}"


def rate(bench: Bench, url: str, topics: dict[str, str], *, total: int, redacts: bool) -> float:
    """Events a second from the backlog to the ledger."""
    with bench.intake(url, topics, redacts=redacts) as (database, member):
        _until(lambda: _stored(database) >= total, member)
        return _between_transactions(database)


def long_backlog(bench: Bench, *, total: int) -> dict[str, float]:
    """How much resident memory intake adds after the first tenth of a long backlog (MiB), and how long an
    audit of its ledger takes (seconds)."""
    topics, url = bench.create(Topics()), bench.ledger()  # the default names, which `clorad audit` reads
    fill(bench.cluster, topics["feedback"], events=total, partitions=PARTITIONS)
    with bench.intake(url, topics) as (database, member):
        _until(lambda: _stored(database) >= WARM_SHARE * total, member)
        warm = peak = member.memory_mib

        def done() -> bool:
            nonlocal peak
            peak = max(peak, member.memory_mib)
            return _stored(database) >= total

        _until(done, member, every_s=0.25)
    return {"rss_growth_mib": peak - warm, "audit_s": audit_s(url, bench.broker.bootstrap, bench.folder)}


def latencies_ms(bench: Bench, topics: dict[str, str], size: IntakeLoad) -> dict[str, float]:
    """Milliseconds from `send` to Kafka's acknowledgement, and to the commit of the redacted event."""
    commits = bench.folder / "commits"
    warm, paced = int(size.per_s), int(size.per_s * size.paced_s)
    with bench.intake(bench.ledger(), topics, commits=str(commits)) as (database, member):
        feedback = topics["feedback"]
        fill(bench.cluster, feedback, events=warm, partitions=PARTITIONS)
        _until(lambda: _stored(database) >= warm, member)
        sent_s, acknowledged_s = pace(
            bench.cluster, feedback, first=warm, events=paced, per_s=size.per_s, partitions=PARTITIONS
        )
        _until(lambda: _stored(database) >= warm + paced, member)
        with database.read() as connection:
            kept = connection.execute(select(events.c.id, events.c.received_s)).all()
    committed = sorted(map(float, commits.read_text().split()))
    # One process writes one transaction at a time: the first commit after an event was received stores it.
    stored_s = {row.id: committed[bisect_left(committed, row.received_s)] for row in kept if row.id in sent_s}
    figures = {}
    for name, then_s in (("acknowledged_ms", acknowledged_s), ("latency_ms", stored_s)):
        times_ms = [(then_s[id] - begin_s) * 1000 for id, begin_s in sent_s.items()]
        figures[f"{name}_p50"] = percentile(times_ms, 50)
        figures[f"{name}_p99"] = percentile(times_ms, 99)
    return figures


def bare_rate(bench: Bench, topic: str, *, total: int) -> float:
    """Records a second that kafka-python alone reads of the same backlog, with intake's fetch options."""
    consumer = bench.cluster.consumer(
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_bytes=8 << 20,
        max_partition_fetch_bytes=1 << 20,
    )
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        first = read = 0
        began_s = time.monotonic()
        while read < total:
            polled = sum(map(len, consumer.poll(timeout_ms=1000, max_records=500).values()))
            if read == 0 and polled:
                began_s, first = time.monotonic(), polled
            read += polled
        return (read - first) / (time.monotonic() - began_s)
    finally:
        consumer.close()


def measure(folder: Path, size: IntakeLoad) -> dict[str, Any]:
    """Every measurement, as the report has it."""
    began_s = time.monotonic()
    broker = LocalBroker(folder / "kafka", free_port())
    broker.start()
    cluster = Kafka(bootstrap_servers=broker.bootstrap, options={})
    bench = Bench(folder=folder, broker=broker, cluster=cluster)
    figures: dict[str, Any] = {}
    try:
        plain, hits = bench.topics("plain"), bench.topics("hits")
        total = size.events
        fill(cluster, plain["feedback"], events=total, partitions=PARTITIONS)
        fill(cluster, hits["feedback"], events=total, partitions=PARTITIONS, hits_share=HITS_SHARE)
        figures["bare_consumer_events_per_s"] = bare_rate(bench, plain["feedback"], total=total)
        figures["sqlite_events_per_s"] = rate(bench, bench.ledger(), plain, total=total, redacts=False)
        figures["sqlite_redacted_events_per_s"] = rate(
            bench, bench.ledger(), plain, total=total, redacts=True
        )
        figures["sqlite_redacted_5pct_hits_events_per_s"] = rate(
            bench, bench.ledger(), hits, total=total, redacts=True
        )
        figures |= _postgres(bench, plain, total=total)
        figures |= latencies_ms(bench, bench.topics("paced"), size)
        figures |= dict.fromkeys(("rss_growth_mib", "audit_s"))
        if size.backlog:
            figures |= long_backlog(bench, total=size.backlog)
    finally:
        broker.kill()
    figures = {name: None if value is None else round(value, 1) for name, value in figures.items()}
    decoding = hostile.milliseconds()
    return {
        **figures,
        "prefilter_hit_share": hostile.prefilter_hit_share(events=5000, hits_share=0.0),
        "prefilter_hit_share_of_5pct": hostile.prefilter_hit_share(events=5000, hits_share=HITS_SHARE),
        "hostile_decode_ms": decoding,
        "hostile_decode_ms_max": max(decoding.values()),
        "bars_met": {name: _is_met(name, figures[name]) for name in BARS},
        "events": size.events,
        "backlog": size.backlog,
        "seconds": round(time.monotonic() - began_s, 1),
        "commit": commit(),
        "cores": os.cpu_count(),
    }


def _postgres(bench: Bench, topics: dict[str, str], *, total: int) -> dict[str, float | None]:
    names = {"postgres_events_per_s": False, "postgres_redacted_events_per_s": True}
    try:
        with postgres_server.server(durable=True) as server:
            return {
                name: rate(bench, postgres_server.new_database(server), topics, total=total, redacts=redacts)
                for name, redacts in names.items()
            }
    except postgres_server.NoPostgres as missing:
        print(f"not measured on Postgres: {missing}")
        return dict.fromkeys(names)


def _is_met(name: str, value: float | None) -> bool | None:
    if value is None:
        return None
    return value <= BARS[name] if name in _UPPER else value >= BARS[name]


def _stored(database: Database) -> int:
    with database.read() as connection:
        return int(connection.scalar(select(func.sum(ranges.c.stored))) or 0)


def _between_transactions(database: Database) -> float:
    by_moment = select(ranges.c.kept_s, func.sum(ranges.c.stored).label("stored")).group_by(ranges.c.kept_s)
    with database.read() as connection:
        rows = connection.execute(by_moment.order_by(ranges.c.kept_s)).all()
    assert len(rows) > 1, "a backlog is more than one transaction"
    # kept_s is when a transaction began, so the events of the last one were stored after the measured time.
    return float(sum(row.stored for row in rows[:-1]) / (rows[-1].kept_s - rows[0].kept_s))


def _until(done: Callable[[], bool], member: Member, *, every_s: float = 0.1) -> None:
    limit_s = time.monotonic() + WAIT_S_MAX
    while not done():
        if member.ended is not None:
            raise RuntimeError(f"intake ended with {member.ended}")
        if time.monotonic() > limit_s:
            raise TimeoutError(f"intake was not done after {WAIT_S_MAX:.0f} s")
        time.sleep(every_s)


def main() -> None:
    """`python -m bench.intake [--quick] [--backlog N] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="no effect: it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="a minute; no backlog of a million")
    parser.add_argument("--backlog", type=int, metavar="N", help="events of the long backlog; 0: none")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    if arguments.backlog is not None:
        size = replace(size, backlog=arguments.backlog)
    with tempfile.TemporaryDirectory(prefix="clorad-intake-") as folder:
        report = measure(Path(folder), size)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
