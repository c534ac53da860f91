"""Live canaries: the real ledger, gateway, counting and withdrawing, with a replica that answers at once.

Records go from the gateway and from people through the real reading into the ledger, without Kafka between.
"""

import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from bench.canary_streams import AUTHORS, CORRECTED, RATES
from bench.canary_world import Loopback, running_canary
from bench.replica import PATH
from daemon.roles.canaries import options_of_canaries
from daemon.setting_groups.canary import CanarySettings
from daemon.settings import GateSettings
from feedback.event_record import build_event_record
from feedback.producer import KafkaRecord
from feedback.redaction import Redactor
from ledger import leases
from ledger.database import Database
from ledger.events import Signal
from ledger.identity import Identity, ensure_identity
from ledger.learning import agents, event_queries, passes, turns
from ledger.learning.turns import TurnEvent, TurnPlan
from ledger.topic_names import FEEDBACK_TOPIC
from ledger.turn_states import EventOutcome, EventResult, TurnPart
from ledger.versions import canary, decisions, desired, routing
from ledger.versions.decisions import BY_GATE, Decision, Verdict
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import Version
from serving.canary.admission import admit

AGENT = "agent"
OPTIONS = replace(options_of_canaries(CanarySettings(), GateSettings()), share=0.25, s_max=12.0)
CLIENTS = 8
AFTER_S = 2.5  # of traffic after the verdict
RUN_S_MAX = 120.0
_BASE_HASH = "0" * 64
_MESSAGES = [{"role": "user", "content": "cancel order 1042"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """One canary on the real ledger and gateway."""

    kind: str
    seed: int
    withdrawn: bool
    conversations: int  # that the canary answered
    rollback_s: float | None  # from the verdict to the last answer that arrived of it; None: not withdrawn


def run_live(kind: str, seed: int, replica: str) -> LiveRun:
    """Let one canary answer conversations, corrected at the rate of its kind, until it is settled."""
    with (
        tempfile.TemporaryDirectory(prefix="clorad-canary-") as folder,
        closing(Database(f"sqlite:///{Path(folder) / 'ledger.db'}")) as database,
    ):
        identity = _fill(database)
        redactor = Redactor(identity.fingerprint)
        loopback = Loopback(database, identity, redactor)
        candidate = _make_candidate(database, loopback, redactor, replica)
        talk = Talk(kind, seed, candidate, loopback, redactor)
        with running_canary(database, identity, redactor, loopback, OPTIONS) as url:
            admit(database, candidate, OPTIONS)
            asyncio.run(talk.until(url, lambda: _settled_s(database, candidate)))
        verdict_s = _withdrawn_s(database, candidate)
    rollback_s = None if verdict_s is None else max(0.0, talk.last_of_canary_s - verdict_s)
    return LiveRun(
        kind=kind,
        seed=seed,
        withdrawn=verdict_s is not None,
        conversations=talk.of_canary,
        rollback_s=None if rollback_s is None else round(rollback_s, 3),
    )


class Talk:
    """People who talk to the agent all the time, each conversation one request, and correct some answers."""

    def __init__(
        self, kind: str, seed: int, candidate: Version, loopback: Loopback, redactor: Redactor
    ) -> None:
        self._draw = random.Random(f"live {kind} {seed}")
        self._kind = kind
        self._candidate = candidate
        self._loopback = loopback
        self._redactor = redactor
        self.of_canary = 0
        self.last_of_canary_s = 0.0  # when its last answer arrived, which is after it was begun

    async def until(self, url: str, settled_s: Callable[[], float | None]) -> None:
        """Talk until the canary is settled, and a little longer."""
        began_s, over = time.monotonic(), asyncio.Event()
        async with aiohttp.ClientSession() as session:
            clients = [asyncio.create_task(self._client(session, url, over)) for _ in range(CLIENTS)]
            while settled_s() is None:
                assert time.monotonic() - began_s < RUN_S_MAX, "the canary was not settled in time"
                assert not any(client.done() for client in clients), "a request failed"
                await asyncio.sleep(0.1)
            await asyncio.sleep(AFTER_S)
            over.set()
            await asyncio.gather(*clients)

    async def _client(self, session: aiohttp.ClientSession, url: str, over: asyncio.Event) -> None:
        while not over.is_set():
            name = f"{self._draw.getrandbits(64):x}"
            headers = {"x-clorad-conversation": name}
            body = {"model": AGENT, "messages": _MESSAGES}
            async with session.post(url + PATH, json=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
                of_canary = answer.headers["x-clorad-version"] == self._candidate.name
            if of_canary:
                self.of_canary += 1
                self.last_of_canary_s = time.time()
            rate = CORRECTED[self._kind] if of_canary else RATES[Signal.CORRECTION]
            if self._draw.random() < rate:
                author = f"author {self._draw.randrange(AUTHORS)}"
                self._loopback.send(_correction(name, author, self._redactor))


def _correction(conversation: str, author: str, redactor: Redactor) -> KafkaRecord:
    data: Mapping[str, Any] = {
        "agent": AGENT,
        "author": author,
        "conversation": conversation,
        "messages": [{"role": "user", "content": f"cancel order {conversation}"}],
        "rejected": "word",
        "corrected": "cancelled",
    }
    return build_event_record("correction", data, topic=FEEDBACK_TOPIC, source="bench", redactor=redactor)


def _fill(database: Database) -> Identity:
    database.migrate()
    identity = ensure_identity(database)
    agents.declare(database, agents.Agent(name=AGENT, base_hash=_BASE_HASH))
    return identity


def _make_candidate(database: Database, loopback: Loopback, redactor: Redactor, replica: str) -> Version:
    """A version that was taught with some corrections, passed the gate, and is on the replica."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        storing = pool.submit(loopback.run, over)
        for future in [loopback.send(_correction(f"before {n}", "ann", redactor)) for n in range(24)]:
            future.result(timeout=10.0)
        over.set()
        storing.result()
    with database.read() as connection:
        untaught = event_queries.untaught(connection, AGENT, limit=100)
    lease = turns.lease_name(AGENT)
    token = leases.acquire(database, [lease], holder="bench", ttl_s=10.0)[lease]
    plan = TurnPlan(
        agent=AGENT,
        parent=0,
        recipe={},
        labelling={},
        seed=1,
        attempt=1,
        through_seq=max(kept.seq for kept in untaught),
        token=token,
        events=tuple(
            TurnEvent(seq=kept.seq, part=TurnPart.NEW, revision=kept.event.revision) for kept in untaught
        ),
    )
    [turn] = passes.open_pass(database, [plan], holder="bench", form={}, virtual_time=0.0).turns
    version = turns.record_version(
        database,
        turn,
        token=token,
        content_hash="abcdef" + "0" * 58,
        base_hash=_BASE_HASH,
        path=f"{AGENT}/v1-abcdef",
        tokens=1,
        results={event.seq: EventResult(outcome=EventOutcome.TRAINED) for event in plan.events},
    )
    leases.release(database, {lease: token})
    with database.write() as connection:
        decision = Decision(
            agent=AGENT,
            number=version.number,
            verdict=Verdict.CANARY,
            by=BY_GATE,
            evidence=Evidence(),
            through_seq=version.through_seq,
        )
        decisions.decide(connection, decision)
        desired.want(connection, version, desired.Purpose.CANARY)
    state = routing.ReplicaState(url=replica, in_rotation=True, base_name="base", models=(version.model,))
    routing.record_replicas(database, [state])
    return version


def _settled_s(database: Database, candidate: Version) -> float | None:
    """When the canary was withdrawn, or its last step ended; None while it is watched."""
    with database.read() as connection:
        steps = canary.steps_of(connection, AGENT, candidate.number)
    return None if not steps or steps[-1].is_open else steps[-1].ended_s


def _withdrawn_s(database: Database, candidate: Version) -> float | None:
    """When the canary was withdrawn; None where it was not."""
    with database.read() as connection:
        decided = decisions.decisions_of(connection, AGENT, candidate.number)
    return next((decision.decided_s for decision in decided if decision.verdict is Verdict.ROLLBACK), None)
