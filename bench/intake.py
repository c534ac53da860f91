"""How fast events become rows: a real broker, one intake process, SQLite (FULL) and Postgres.

The baseline is a bare kafka-python consumer that throws the same records away. Rates are those between the
first transaction and the last, by the ledger's clock: starting up and joining the group are not in them. A
long backlog shows what memory does over time, and `clorad audit` is timed on the ledger that it filled.
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
from deploy.kafka.broker import LocalBroker, free_port
from feedback.connection import Kafka
from feedback.topics import Topics, create
from ledger.database import Database
from ledger.learning import agents
from ledger.schema import events, ranges
from tests import postgres_server

PARTITIONS = 6
WAIT_S_MAX = 1800.0
WARM_SHARE = 0.1  # of a backlog: by then buffers and caches have their size
HITS_SHARE = 0.05
BARS = {
    "sqlite_events_per_s": 5000.0,
    "sqlite_redacted_events_per_s": 2500.0,
    "latency_ms_p99": 250.0,
    "rss_growth_mib": 20.0,
    "audit_s": 2.0,
}
_MOST = ("latency_ms_p99", "rss_growth_mib", "audit_s")  # these bars are not to be passed, the others are


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLoad:
    """How much is measured."""

    events: int
    paced_s: float
    per_s: float
    backlog: int  # for memory and audit; 0: not measured


QUICK = IntakeLoad(events=6_000, paced_s=5.0, per_s=1000.0, backlog=0)
FULL = IntakeLoad(events=100_000, paced_s=60.0, per_s=1000.0, backlog=1_000_000)


@dataclass(slots=True, kw_only=True)
class Bench:
    """The broker and its topics, one for each backlog."""

    folder: Path
    broker: LocalBroker
    cluster: Kafka
    runs: int = 0

    def topics(self, name: str) -> dict[str, str]:
        """Topics of their own, for one backlog; they exist afterwards."""
        return self.made(Topics(**{field: f"{name}-{field.replace('_', '-')}" for field in asdict(Topics())}))

    def made(self, topics: Topics) -> dict[str, str]:
        """These topics exist afterwards."""
        create(self.cluster, topics, partitions=PARTITIONS)
        return asdict(topics)

    @contextmanager
    def intake(self, url: str, topics: dict[str, str], **given: Any) -> Iterator[tuple[Database, Member]]:
        """One intake process at work on a ledger of its own, until the block ends."""
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
            **given,
        )
        try:
            yield database, member
            member.signal(signal.SIGTERM)
            member.wait(wait_s_max=30.0)
        finally:
            member.kill()
            database.close()

    def ledger(self) -> str:
        """A new SQLite ledger."""
        return f"sqlite:///{self.folder / f'ledger-{self.runs}.db'}"


def rate(bench: Bench, url: str, topics: dict[str, str], *, total: int, redacts: bool) -> float:
    """Events a second from the backlog to the ledger."""
    with bench.intake(url, topics, redacts=redacts) as (database, member):
        _until(lambda: _stored(database) >= total, member)
        return _between_transactions(database)


def long_backlog(bench: Bench, *, total: int) -> dict[str, float]:
    """How much more resident memory intake ever has after the first tenth of a long backlog, and how long an
    audit of its ledger takes."""
    topics, url = bench.made(Topics()), bench.ledger()  # by their own names, as the command knows them
    fill(bench.cluster, topics["feedback"], events=total, partitions=PARTITIONS)
    with bench.intake(url, topics) as (database, member):
        _until(lambda: _stored(database) >= WARM_SHARE * total, member)
        warm = most = member.memory_mib

        def done() -> bool:
            nonlocal most
            most = max(most, member.memory_mib)
            return _stored(database) >= total

        _until(done, member, every_s=0.25)
    return {"rss_growth_mib": most - warm, "audit_s": audit_s(url, bench.broker.bootstrap, bench.folder)}


def latencies_ms(bench: Bench, topics: dict[str, str], size: IntakeLoad) -> dict[str, float]:
    """From `send` to Kafka's acknowledgement, and to the commit that keeps the event, redacted."""
    commits = bench.folder / "commits"
    warm, paced = int(size.per_s), int(size.per_s * size.paced_s)
    with bench.intake(bench.ledger(), topics, commits=str(commits)) as (database, member):
        feedback = topics["feedback"]
        fill(bench.cluster, feedback, events=warm, partitions=PARTITIONS)
        _until(lambda: _stored(database) >= warm, member)
        said, acknowledged = pace(
            bench.cluster, feedback, first=warm, events=paced, per_s=size.per_s, partitions=PARTITIONS
        )
        _until(lambda: _stored(database) >= warm + paced, member)
        with database.read() as connection:
            kept = connection.execute(select(events.c.id, events.c.received_s)).all()
    committed = sorted(map(float, commits.read_text().split()))
    # One process, one transaction at a time: what began before a commit was in the ledger with it.
    stored = {row.id: committed[bisect_left(committed, row.received_s)] for row in kept if row.id in said}
    found = {}
    for name, then_s in (("acknowledged_ms", acknowledged), ("latency_ms", stored)):
        taken = sorted((then_s[id] - said_s) * 1000 for id, said_s in said.items())
        found[f"{name}_p50"], found[f"{name}_p99"] = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    return found


def bare_rate(bench: Bench, topic: str, *, total: int) -> float:
    """What kafka-python alone reads of the same backlog, fetching and decoding as intake has it."""
    consumer = bench.cluster.consumer(
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_bytes=8 << 20,
        max_partition_fetch_bytes=1 << 20,
    )
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        first = seen = 0
        begun_s = time.monotonic()
        while seen < total:
            found = sum(map(len, consumer.poll(timeout_ms=1000, max_records=500).values()))
            if seen == 0 and found:
                begun_s, first = time.monotonic(), found
            seen += found
        return (seen - first) / (time.monotonic() - begun_s)
    finally:
        consumer.close()


def measure(folder: Path, size: IntakeLoad) -> dict[str, Any]:
    """All of it."""
    begun_s = time.monotonic()
    broker = LocalBroker(folder / "kafka", free_port())
    broker.start()
    cluster = Kafka(bootstrap_servers=broker.bootstrap)
    bench = Bench(folder=folder, broker=broker, cluster=cluster)
    found: dict[str, Any] = {}
    try:
        plain, hits = bench.topics("plain"), bench.topics("hits")
        total = size.events
        fill(cluster, plain["feedback"], events=total, partitions=PARTITIONS)
        fill(cluster, hits["feedback"], events=total, partitions=PARTITIONS, hits_share=HITS_SHARE)
        found["bare_consumer_events_per_s"] = bare_rate(bench, plain["feedback"], total=total)
        found["sqlite_events_per_s"] = rate(bench, bench.ledger(), plain, total=total, redacts=False)
        found["sqlite_redacted_events_per_s"] = rate(bench, bench.ledger(), plain, total=total, redacts=True)
        found["sqlite_redacted_5pct_hits_events_per_s"] = rate(
            bench, bench.ledger(), hits, total=total, redacts=True
        )
        found |= _postgres(bench, plain, total=total)
        found |= latencies_ms(bench, bench.topics("paced"), size)
        found |= dict.fromkeys(("rss_growth_mib", "audit_s"))
        if size.backlog:
            found |= long_backlog(bench, total=size.backlog)
    finally:
        broker.kill()
    found = {name: None if value is None else round(value, 1) for name, value in found.items()}
    decoding = hostile.milliseconds()
    return {
        **found,
        "prefilter_hit_share": hostile.prefilter_hit_share(events=5000, hits_share=0.0),
        "prefilter_hit_share_of_5pct": hostile.prefilter_hit_share(events=5000, hits_share=HITS_SHARE),
        "hostile_decode_ms": decoding,
        "hostile_decode_ms_max": max(decoding.values()),
        "bars_met": {name: _is_met(name, found[name]) for name in BARS},
        "events": size.events,
        "backlog": size.backlog,
        "seconds": round(time.monotonic() - begun_s, 1),
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
    return value <= BARS[name] if name in _MOST else value >= BARS[name]


def _stored(database: Database) -> int:
    with database.read() as connection:
        return int(connection.scalar(select(func.sum(ranges.c.stored))) or 0)


def _between_transactions(database: Database) -> float:
    by_moment = select(ranges.c.kept_s, func.sum(ranges.c.stored).label("stored")).group_by(ranges.c.kept_s)
    with database.read() as connection:
        rows = connection.execute(by_moment.order_by(ranges.c.kept_s)).all()
    assert len(rows) > 1, "a backlog is more than one transaction"
    # A transaction's moment is its beginning: what the last one kept came after it.
    return float(sum(row.stored for row in rows[:-1]) / (rows[-1].kept_s - rows[0].kept_s))


def _until(done: Callable[[], bool], member: Member, *, every_s: float = 0.1) -> None:
    limit_s = time.monotonic() + WAIT_S_MAX
    while not done():
        if member.ended is not None:
            raise RuntimeError(f"intake ended with {member.ended}")
        if time.monotonic() > limit_s:
            raise TimeoutError("intake did not come to the end of it")
        time.sleep(every_s)


def main() -> None:
    """`python -m bench.intake [--quick] [--backlog N] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="a minute; no backlog of a million")
    parser.add_argument("--backlog", type=int, metavar="N", help="events of the long backlog; 0: none")
    given = parser.parse_args()
    size = QUICK if given.quick else FULL
    if given.backlog is not None:
        size = replace(size, backlog=given.backlog)
    with tempfile.TemporaryDirectory(prefix="clorad-intake-") as folder:
        report = measure(Path(folder), size)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
