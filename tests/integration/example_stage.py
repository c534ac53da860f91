"""What the numbered examples run on in tests: all of clorad on a Kafka in memory and a fake vLLM.

Ledger, intake, planning, gate, fleet and gateway are the real ones, in threads. Only learning is simulated: a
version answers what it, or an ancestor, was taught, and answers everything alike if it was taught one reply
to many prompts.
"""

import re
import runpy
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.learning.scheduler import Freshness, due_backlogs, readiness
from daemon.learning.turns.material import TurnLimits
from daemon.learning.turns.planning import plan_turn
from feedback.producer import Producer
from feedback.topics import Topics
from ledger import leases
from ledger.database import Database
from ledger.events import Kind
from ledger.facts import set_fact
from ledger.learning import passes, turns
from ledger.learning.agents import all_agents
from ledger.learning.backlog import backlogs
from ledger.learning.event_queries import events_by_seq, mark
from ledger.schema import turn_events
from ledger.versions.lineage import lineage_of, versions_of
from serving.fleet.leader import build_fleet
from serving.fleet.suite import suite_questions
from tests.fakes.kafka import FakeKafka
from tests.unit.feedback.intake_builder import IntakeLedger, build_intake, running_intakes
from tests.unit.ledger.turn_builder import lease
from tests.unit.serving.fleet.options_builder import build_fleet_options, build_judging_options, build_limits
from tests.unit.serving.fleet.test_leader import RecordedHealth, running
from tests.unit.serving.gateway.gateway_builder import build_gateway, wait_until
from tests.unit.serving.serving_environment import ServingEnvironment, build_environment

ROOT = Path(__file__).parents[2]
AGENTS = ("one", "two", "three", "four")
LEARNER_EVERY_S = 0.1
ROLE_KEY = "c3" * 32
"""By this key of the ledger enough of the examples' prompts are held out for the gate. By another one there
may be so few that an agent waits for more."""

_FRESHNESS = Freshness(
    events_min=16, age_s_max=3600.0, alpha=0.05, refusals_max=3, suite_min=0, settle_s=0.0, authors_min=2
)
_LIMITS = TurnLimits(new_max=256, replay_max=64, anchors_max=160, settle_s=3600.0, authors_min=2)
_ALIKE_MIN = 5
_DIGITS = re.compile(r"\d+")


class SimulatedLearner:
    """Gives each agent that is due its turn, as the learner plans it, and writes a version for it."""

    def __init__(self, environment: ServingEnvironment) -> None:
        self._environment, self._database = environment, environment.database
        self._taught: dict[str, tuple[tuple[str, str], ...]] = {}

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(LEARNER_EVERY_S):
            with self._database.read() as connection:
                due = due_backlogs(backlogs(connection), _FRESHNESS)
            for backlog in due:
                self._turn(backlog)

    def answer(self, path: str, messages: Sequence[Mapping[str, Any]]) -> str:
        """What the version at `path`, or the base, answers."""
        prompt = str(messages[-1]["content"])
        taught = self._taught_to(path)
        counts = Counter(reply for _, reply in taught)
        if counts and counts.most_common(1)[0][1] >= _ALIKE_MIN:
            return counts.most_common(1)[0][0]
        number = next(iter(_DIGITS.findall(prompt)), "")
        forms = {_DIGITS.sub("#", asked): _DIGITS.sub("#", reply) for asked, reply in taught}
        return forms.get(_DIGITS.sub("#", prompt), f"I heard: {prompt}").replace("#", number)

    def _turn(self, backlog: Any) -> None:
        token = lease(self._database, backlog.agent).get(backlog.agent)
        if token is None:
            return
        with self._database.read() as connection:
            planned = plan_turn(
                connection,
                all_agents(connection)[backlog.agent],
                backlog,
                token=token,
                limits=_LIMITS,
                readiness=readiness(backlog, _FRESHNESS),
            )
        mark(self._database, planned.marks)
        if planned.plan is not None:
            opened = passes.open_pass(self._database, [planned.plan], holder="learner-1", form={})
            self._environment.record(opened.turns[0])
        leases.release(self._database, {turns.lease_name(backlog.agent): token})

    def _taught_to(self, path: str) -> tuple[tuple[str, str], ...]:
        """Prompts and replies that the version was taught, with its ancestors."""
        if path not in self._taught:
            self._taught[path] = tuple(self._read_taught(path))
        return self._taught[path]

    def _read_taught(self, path: str) -> Iterator[tuple[str, str]]:
        folder = Path(path)
        with self._database.read() as connection:
            versions = {version.name: version for version in versions_of(connection, folder.parent.name)}
            if folder.name not in versions:
                return
            line = lineage_of(connection, folder.parent.name, versions[folder.name].number)
            turn_ids = [version.turn_id for version in versions.values() if version.number in line]
            query = turn_events.select().where(turn_events.c.turn_id.in_(turn_ids))
            seqs = [row.event_seq for row in connection.execute(query)]
            for kept in events_by_seq(connection, seqs).values():
                if kept.event.kind is Kind.CORRECTION:
                    yield kept.event.data["messages"][-1]["content"], kept.event.data["corrected"]


@contextmanager
def build_stage(folder: Path) -> Iterator[str]:
    """All of it, for the agents of `AGENTS`, with a `clorad.toml` in the folder. Gives the gateway's URL."""
    kafka, topics = FakeKafka(), Topics()
    for topic in topics.retention_days():
        kafka.create_named(topic, partitions=1)
    with build_environment(folder) as environment:
        for name in AGENTS:
            environment.agent(name, capture=True, scorer="exact")
        learner = SimulatedLearner(environment)
        environment.replica(reply_function=learner.answer)
        (folder / "clorad.toml").write_text(
            f'ledger.url = "sqlite:///{folder / "clorad.db"}"\nstore.path = "{environment.store}"\n'
        )
        with environment.database.write() as connection:
            set_fact(connection, "fingerprint_key", ROLE_KEY)
        intake = build_intake(kafka, intake_ledger(environment.database), topics)
        stopping = threading.Event()
        learning = threading.Thread(target=learner.run, args=(stopping,))
        with (
            closing_producer(kafka) as send,
            running_intakes(intake),
            running(_fleet(environment)),
            build_gateway(environment.database, send=send, captures=send, ack_s_max=10.0) as gateway,
        ):
            learning.start()
            try:
                wait_until(lambda: gateway.get("/readyz").status_code == 200, wait_s_max=60.0)
                yield gateway.url
            finally:
                stopping.set()
                learning.join()


def run_example(name: str, *words: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Run an example as `python examples/NAME WORDS` does, in this folder. Its commands are processes."""
    patch.chdir(folder)
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


@contextmanager
def closing_producer(kafka: FakeKafka) -> Iterator[Any]:
    producer = Producer(kafka, ack_s_max=10.0)
    try:
        yield producer.send
    finally:
        producer.close(wait_s_max=5.0)


def intake_ledger(database: Database) -> IntakeLedger:
    """The database as the builder of intakes takes it."""
    ledger = IntakeLedger.__new__(IntakeLedger)
    ledger.database = database
    return ledger


def _fleet(environment: ServingEnvironment) -> Any:
    judging = build_judging_options(placing_s_max=5.0, limits=build_limits(authors_min=2))
    return build_fleet(
        environment.database,
        tuple(fake.url for fake in environment.replicas),
        build_fleet_options(environment.store, tick_s=0.05, lease_s=5.0, judging=judging),
        suite=partial(suite_questions, limit=128, settle_s=3600.0),
        redact=lambda text: text,
        health=RecordedHealth(),
        api_keys={},
    )
