"""Builds a healthy installation on fakes, in which a test plants one fault and asks what the doctor finds."""

import shutil
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.doctor.examination import Examination, examine, groups_of
from daemon.settings import Settings
from engine.base_files import base_hash
from engine.served_tokens import ServedTokens
from feedback.connection import Cluster
from ledger.database import Database
from ledger.events import Event, Kind, Partition, Role
from ledger.learning.agents import Agent, declare
from ledger.topic_names import FEEDBACK_TOPIC
from tests.fakes.kafka import FakeKafka
from tests.fakes.vllm import FakeVLLM
from tests.unit.ledger.event_builder import build_event, keep
from tests.unit.ledger.ledger_builder import write_ledger

AGENT = "billing"


@dataclass
class DoctoredInstallation:
    """Kafka, a replica, a ledger, a store and a base, and the settings that name them."""

    folder: Path
    base: Path
    kafka: FakeKafka
    vllm: FakeVLLM
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)  # settings by section

    @property
    def ledger(self) -> Path:
        return self.folder / "clorad.db"

    @property
    def store(self) -> Path:
        return self.folder / "adapters"

    @property
    def settings(self) -> Settings:
        values: dict[str, dict[str, Any]] = {
            "ledger": {"url": f"sqlite:///{self.ledger}"},
            "store": {"path": self.store},
            "engine": {"base": self.base},
            "fleet": {"replicas": (self.vllm.url,)},
            "agents": {AGENT: {"scorer": "exact", "capture": True}},
        }
        for section, changes in self.changed.items():
            values[section] = {**values.get(section, {}), **changes}
        values["agents"] = {name: agent for name, agent in values["agents"].items() if agent is not None}
        return Settings(**values)

    def set(self, section: str, **changes: Any) -> None:
        """Change settings of one section. An agent that is None is none."""
        self.changed.setdefault(section, {}).update(changes)

    def declare(self, name: str = AGENT, **changes: Any) -> None:
        """Declare an agent in the ledger, as a role does it."""
        with closing(Database(f"sqlite:///{self.ledger}")) as database:
            declare(database, Agent(name=name, **{"base_hash": base_hash(self.base), **changes}))

    def feed(self, *, train: int = 2, gate: int = 9, anchors: int = 2, suite: int = 3) -> None:
        """Corrections of both roles, and approvals for training (anchors) and for the gate (suite)."""
        self.declare(capture=True)
        events = [build_event(f"t{n}", author=("ann", "bob")[n % 2]) for n in range(train)]
        events += [build_event(f"g{n}", role=Role.GATE) for n in range(gate)]
        for role, count in ((Role.TRAIN, anchors), (Role.GATE, suite)):
            events += [build_event(f"a-{role}-{n}", kind=Kind.APPROVE, role=role) for n in range(count)]
        self.keep(*events)

    def keep(self, *events: Event) -> None:
        """Store events as intake does that read them from this Kafka."""
        topic_id = str(self.kafka.topics[FEEDBACK_TOPIC].topic_id)
        partition = Partition(cluster_id="fake", topic=FEEDBACK_TOPIC, topic_id=topic_id, number=0)
        with closing(Database(f"sqlite:///{self.ledger}")) as database:
            keep(database, *events, partition=partition)

    def own_base(self) -> None:
        """The installation has a base of its own, which a test may damage."""
        self.base = Path(shutil.copytree(self.base, self.folder / "base"))

    def cluster(self) -> Cluster:
        return self.kafka.cluster

    def examine(self) -> Examination:
        groups = groups_of(
            self.settings, self.cluster, config=None, quick=True, test_notice=True, now_s=time.time()
        )
        return examine(groups)


def build_installation(folder: Path, base: Path, served: ServedTokens) -> DoctoredInstallation:
    """An installation in which nothing is wrong; the replica serves `base`. Its `vllm` must be killed."""
    kafka, vllm = FakeKafka(), FakeVLLM()
    kafka.create_all(replicas=1)
    vllm.root, vllm.tokenize = str(base), lambda body: {"tokens": tokens_of(served, body)}
    installation = DoctoredInstallation(folder=folder, base=base, kafka=kafka, vllm=vllm)
    write_ledger(installation.ledger)
    installation.store.mkdir()
    return installation


def tokens_of(served: ServedTokens, body: Mapping[str, Any]) -> list[int]:
    """What vLLM's /tokenize answers where it has this tokenizer and chat template."""
    if "prompt" in body:
        return served.text(body["prompt"])
    return served.prompt(body["messages"], {"tools": body.get("tools")}, asked_s=time.time())
