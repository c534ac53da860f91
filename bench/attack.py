"""Attacks a gateway and measures what others notice: does it live, how long do they wait, what is lost?

Twenty honest requests a second run beside each attack, and feedback; the gateway, its two replicas and the
attacker are processes of their own, on a real Kafka. Where `machine_late_ms_p99` is large, the machine is
busy with something else, and the latencies say nothing of the gateway. `python -m bench.attack --json`
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
from kafka import TopicPartition

from bench.attackers import ATTACKS, BEGUN
from bench.commit import commit
from bench.gateway import MESSAGES
from bench.gateway_processes import PLAIN, make_ledger, port_of, ready, start_python
from bench.percentile import percentile
from bench.replica import PATH
from deploy.kafka.broker import LocalBroker, free_port
from feedback.connection import Kafka
from feedback.topics import Topics, create

HONEST_PER_S, FEEDBACK_EACH, TRIES_MAX = 20.0, 10, 5
REQUEST_S_MAX, SETTLE_S, SAMPLE_S = 20.0, 2.0, 0.05
BARS = {"latency_ratio": 3.0, "latency_ms": 30.0, "rss_growth_mib": 64.0}
QUICK_S, FULL_S = 5.0, 30.0
QUICK_TOTAL_S_MAX, FULL_TOTAL_S_MAX = 90.0, 600.0
END_S = 5.0  # to end the processes


@dataclass(slots=True)
class Honest:
    """What honest clients saw during one measurement."""

    ms: list[float] = field(default_factory=list)
    failed: int = 0
    feedback: list[str] = field(default_factory=list)  # ids sent
    accepted: set[str] = field(default_factory=set)  # ids that were answered with 202
    refusals: Counter[int] = field(default_factory=Counter)  # of feedback, by status
    rss_mib: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)  # how late the machine woke the honest clients

    @property
    def p99_ms(self) -> float:
        return percentile(self.ms, 99) if self.ms else float("inf")


async def ask(session: aiohttp.ClientSession, url: str, honest: Honest) -> None:
    """One chat request; the time it took, or that it failed."""
    began_s = time.perf_counter()
    body = {"model": PLAIN, "messages": MESSAGES, "max_tokens": 48}
    try:
        async with session.post(url + PATH, json=body) as answer:
            await answer.read()
            honest.failed += answer.status != 200
    except (aiohttp.ClientError, TimeoutError):
        honest.failed += 1
    honest.ms.append((time.perf_counter() - began_s) * 1000)


async def give_feedback(session: aiohttp.ClientSession, url: str, honest: Honest) -> None:
    """One correction, sent again under its id until it is accepted, as clients are told to."""
    event = uuid4().hex
    honest.feedback.append(event)
    data = {"agent": PLAIN, "author": "ann", "messages": MESSAGES, "rejected": "no", "corrected": "yes"}
    body = {"id": event, "source": "bench", "type": "clorad.correction.v1", "data": data}
    for _ in range(TRIES_MAX):
        try:
            async with session.post(f"{url}/v1/feedback", json=body) as answer:
                if answer.status == 202:
                    honest.accepted.add(event)
                    return
                honest.refusals[answer.status] += 1
        except (aiohttp.ClientError, TimeoutError):
            honest.refusals[0] += 1
        await asyncio.sleep(1.0)


async def serve_honestly(url: str, gateway: psutil.Process, duration_s: float) -> Honest:
    """Honest requests at fixed moments, whatever became of those before; the gateway's memory meanwhile.

    Feedback that nobody accepts is given up soon after the last request.
    """
    honest, asked = Honest(), []
    loop = asyncio.get_running_loop()
    timeout = aiohttp.ClientTimeout(total=REQUEST_S_MAX)
    sampling = asyncio.create_task(sample_memory(gateway, honest))
    async with aiohttp.ClientSession(timeout=timeout) as session:
        began_s = loop.time()
        for number in range(int(duration_s * HONEST_PER_S)):
            due_s = began_s + number / HONEST_PER_S
            await asyncio.sleep(due_s - loop.time())
            honest.late_ms.append((loop.time() - due_s) * 1000)
            asked.append(asyncio.create_task(ask(session, url, honest)))
            if number % FEEDBACK_EACH == 0:
                asked.append(asyncio.create_task(give_feedback(session, url, honest)))
        _, late = await asyncio.wait(asked, timeout=REQUEST_S_MAX + 1.0)
        for task in late:
            task.cancel()
    sampling.cancel()
    return honest


async def sample_memory(gateway: psutil.Process, honest: Honest) -> None:
    """Resident memory of the gateway, again and again."""
    while gateway.is_running() and gateway.status() != psutil.STATUS_ZOMBIE:
        honest.rss_mib.append(gateway.memory_info().rss / 2**20)
        await asyncio.sleep(SAMPLE_S)


def measure(
    url: str,
    gateway: psutil.Process,
    duration_s: float,
    topic: "FeedbackTopic",
    attacks: Sequence[str],
    ends_s: float,
) -> list[dict[str, Any]]:
    """One row for each attack, compared with the time before it; none for which no time is left.

    A measurement that is not over at `ends_s` gives no row.
    """

    def serve(duration_s: float) -> Honest:
        return asyncio.run(in_time(serve_honestly(url, gateway, duration_s), ends_s))

    serve(SETTLE_S)  # connections, caches
    rows: list[dict[str, Any]] = []
    longest_s = 1.5 * duration_s
    for attack in attacks:
        began_s = time.monotonic()
        if began_s + longest_s > ends_s:
            break
        try:
            quiet = serve(duration_s / 2)
            with attacking(attack, url) as file:
                during = serve(duration_s)
                answers = Counter(file.read_text().split()[1:])
        except TimeoutError:
            break
        alive = gateway.is_running() and gateway.status() != psutil.STATUS_ZOMBIE
        rows.append(
            {
                "attack": attack,
                "gateway_alive": alive,
                "others_latency_ratio_p99": round(during.p99_ms / quiet.p99_ms, 2),
                "others_latency_ms_p99": round(during.p99_ms, 2),
                "quiet_latency_ms_p99": round(quiet.p99_ms, 2),
                "machine_late_ms_p99": round(percentile(during.late_ms, 99), 2),
                "others_failed": during.failed,
                "rss_growth_mib": round(max(during.rss_mib) - quiet.rss_mib[-1], 1),
                "feedback_sent": len(during.feedback),
                "feedback_accepted": len(during.accepted),
                "feedback_lost": topic.missing(during.accepted),
                "feedback_given_up": len(during.feedback) - len(during.accepted),
                "feedback_refused": dict(during.refusals),
                "attacker_answers": dict(answers),
            }
        )
        if not alive:
            break
        time.sleep(SETTLE_S)
        longest_s = max(longest_s, time.monotonic() - began_s)
    return rows


async def in_time(measurement: Awaitable[Honest], ends_s: float) -> Honest:
    """What was measured. Raises `TimeoutError` where it is not over at this moment of the monotonic clock."""
    return await asyncio.wait_for(measurement, ends_s - time.monotonic())


def within_bars(row: dict[str, Any]) -> bool:
    """Whether nobody but the attacker noticed the attack."""
    return bool(
        row["gateway_alive"]
        and row["others_failed"] == row["feedback_lost"] == row["feedback_given_up"] == 0
        and row["rss_growth_mib"] <= BARS["rss_growth_mib"]
        and (
            row["others_latency_ratio_p99"] <= BARS["latency_ratio"]
            or row["others_latency_ms_p99"] <= BARS["latency_ms"]
        )
    )


def result(rows: Sequence[dict[str, Any]], attacks: Sequence[str]) -> dict[str, Any]:
    """Whether all that was measured went unnoticed, and which attacks were left out (no time, no gateway)."""
    left_out = list(attacks[len(rows) :])
    passed = bool(rows) and all(map(within_bars, rows))
    return {"passed": passed, "left_out": left_out, "rows": list(rows)}


@contextmanager
def attacking(attack: str, url: str) -> Iterator[Path]:
    """The attack runs meanwhile, with less of the processor's time where there is not enough of it.

    The file has the status of each answer that the attacker got.
    """
    words = ["nice", "-n", "10", sys.executable, "-m", "bench.attackers", attack, url.removeprefix("http://")]
    with tempfile.NamedTemporaryFile() as answers:
        attacker = subprocess.Popen(words, stdout=answers, stderr=subprocess.DEVNULL)
        try:
            while not Path(answers.name).read_text().startswith(BEGUN):
                assert attacker.poll() is None, f"the attacker {attack} did not begin"
                time.sleep(0.1)
            yield Path(answers.name)
            assert attacker.poll() is None, f"the attacker {attack} died"
        finally:
            attacker.kill()
            attacker.wait()


class FeedbackTopic:
    """Reads which events Kafka has."""

    def __init__(self, cluster: Kafka) -> None:
        self._consumer = cluster.consumer(group_id=None)
        self._consumer.assign([TopicPartition(Topics().feedback, 0)])
        self._consumer.seek_to_beginning()
        self._ids: set[str] = set()

    def missing(self, ids: Iterable[str]) -> int:
        """How many of these events are not on the topic."""
        [place] = self._consumer.assignment()
        end = self._consumer.end_offsets([place])[place]
        while self._consumer.position(place) < end:
            for records in self._consumer.poll(timeout_ms=1000).values():
                self._ids |= {dict(record.headers)["ce_id"].decode() for record in records}
        return len(set(ids) - self._ids)

    def close(self) -> None:
        """Close the connection to Kafka."""
        self._consumer.close()


def run(folder: Path, duration_s: float, attacks: Sequence[str], ends_s: float) -> list[dict[str, Any]]:
    """Start everything, attack until this moment of the monotonic clock at most, and end everything."""
    with ExitStack() as running:
        broker = LocalBroker(folder / "kafka", free_port())
        broker.start()
        running.callback(broker.kill)
        cluster = Kafka(bootstrap_servers=broker.bootstrap, options={})
        create(cluster, Topics(), partitions=1, replication=1)
        replicas = [running.enter_context(start_python("-m", "bench.replica", "replica")) for _ in range(2)]
        urls = [f"http://127.0.0.1:{port_of(replica)}" for replica in replicas]
        port = free_port()
        config = folder / "clorad.toml"
        config.write_text(
            f'[kafka]\nbootstrap_servers = "{broker.bootstrap}"\n'
            f'[ledger]\nurl = "{make_ledger(folder, *urls)}"\n'
            f"[fleet]\nreplicas = {json.dumps(urls)}\n[gateway]\nport = {port}\n"
        )
        gateway = running.enter_context(
            start_python("-m", "daemon", "--config", str(config), "gateway", log=folder / "gateway.log")
        )
        url = f"http://127.0.0.1:{port}"
        asyncio.run(ready(f"{url}/readyz"))
        topic = FeedbackTopic(cluster)
        running.callback(topic.close)
        return measure(url, psutil.Process(gateway.pid), duration_s, topic, attacks, ends_s)


def main() -> None:
    """`python -m bench.attack [--quick] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; it always prints JSON")
    parser.add_argument(
        "--quick", action="store_true", help="5 s an attack and 90 s in all, not 30 s and ten minutes"
    )
    parser.add_argument("--attack", choices=ATTACKS, action="append", help="only this one; may be repeated")
    arguments = parser.parse_args()
    attacks = arguments.attack or list(ATTACKS)
    ends_s = time.monotonic() + (QUICK_TOTAL_S_MAX if arguments.quick else FULL_TOTAL_S_MAX) - END_S
    with tempfile.TemporaryDirectory(prefix="clorad-attack-") as folder:
        rows = run(Path(folder), QUICK_S if arguments.quick else FULL_S, attacks, ends_s)
    about = {"commit": commit(), "cores": os.cpu_count(), "load": os.getloadavg()[0], "bars": BARS}
    print(json.dumps(result(rows, attacks) | about))


if __name__ == "__main__":
    main()
