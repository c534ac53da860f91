"""A ledger, an adapter store and fake replicas, with functions that fill them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.adapter_files import content_hash, files_of
from engine.manifest import FORMAT
from ledger import leases
from ledger.database import Database
from ledger.events import Event, Kind, Role
from ledger.learning import turns
from ledger.learning.agents import Agent, declare
from ledger.versions.lineage import Version, version_name
from tests.fakes.vllm import FakeVLLM
from tests.fakes.vllm_models import probes
from tests.unit.engine.measurements import build_metrics
from tests.unit.ledger import event_builder, turn_builder
from tests.unit.ledger.ledger_builder import build_ledger

BASE_HASH = turn_builder.BASE_HASH
PROMPT_IDS = ([10, 20, 30], [7, 8], [99, 98])


@dataclass(slots=True, kw_only=True)
class ServingEnvironment:
    """An environment in which versions in the ledger are also in the store that the replicas read."""

    database: Database
    store: Path
    replicas: list[FakeVLLM] = field(default_factory=list)
    _prompts: int = 0

    def agent(self, name: str, **changed: Any) -> str:
        declare(self.database, Agent(name=name, base_hash=BASE_HASH, **changed))
        return name

    def replica(self, **given: Any) -> FakeVLLM:
        self.replicas.append(FakeVLLM(**given))
        return self.replicas[-1]

    def say(self, *events: Event) -> None:
        event_builder.keep(self.database, *events)

    def corrections(self, agent: str, count: int, *, role: Role, kind: Kind = Kind.CORRECTION) -> list[Event]:
        """Corrections of new prompts whose right answer is `right N`; approvals of the answer `right N`."""
        events = []
        for _ in range(count):
            self._prompts += 1
            right = f"right {self._prompts}"
            data: dict[str, Any] = {"messages": [{"role": "user", "content": f"ask {self._prompts}"}]}
            data |= {"said": right} if kind is Kind.APPROVE else {"rejected": "no", "corrected": right}
            events.append(
                event_builder.build_event(f"e{self._prompts}", agent=agent, role=role, kind=kind, data=data)
            )
        self.say(*events)
        return events

    def candidate(self, agent: str, **manifest: Any) -> Version:
        """A version trained on all untaught events and a new one, complete in store and ledger."""
        self.corrections(agent, 1, role=Role.TRAIN)
        [turn] = turn_builder.open_pass(self.database, agent).turns
        version = self.record(turn, **manifest)
        leases.release(self.database, {turns.lease_name(agent): turn.plan.token})
        return version

    def champion(self, agent: str) -> Version:
        """A promoted version."""
        version = self.candidate(agent)
        turn_builder.promote(self.database, version)
        return version

    def path(self, version: Version) -> str:
        return str(self.store / version.path)

    def record(self, turn: turns.Turn, **changed: Any) -> Version:
        """The version of an open turn, complete in store and ledger."""
        draft = self.store / turn.plan.agent / f".draft-{turn.id}"
        draft.mkdir(parents=True)
        for name in ("adapter_model.safetensors", "optimizer.safetensors"):
            (draft / name).write_bytes(f"{name} of turn {turn.id}".encode())
        (draft / "adapter_config.json").write_text("{}")
        content_hash_hex = content_hash(draft)
        path = f"{turn.plan.agent}/{version_name(turn.number, content_hash_hex)}"
        final = draft.rename(self.store / path)
        (final / "manifest.json").write_text(json.dumps(manifest(final, content_hash_hex, changed)))
        return turns.record_version(
            self.database,
            turn,
            token=turn.plan.token,
            content_hash=content_hash_hex,
            base_hash=BASE_HASH,
            path=path,
            tokens=100,
            results=turn_builder.build_results(turn),
        )


@contextmanager
def build_environment(folder: Path) -> Iterator[ServingEnvironment]:
    database = build_ledger(folder / "clorad.db")
    store = folder / "store"
    store.mkdir()
    environment = ServingEnvironment(database=database, store=store)
    try:
        yield environment
    finally:
        for replica in environment.replicas:
            replica.kill()
        database.close()


def manifest(directory: Path, content_hash: str, changed: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of the version in `directory`, as JSON values."""
    values: dict[str, Any] = {
        "agent": directory.parent.name,
        "version": directory.name,
        "base_hash": BASE_HASH,
        "probes": [probe.to_json() for probe in probes(str(directory), PROMPT_IDS, base="base")],
        "files": dict(files_of(directory).sha256),
        "content_hash": content_hash,
        "metrics": build_metrics().to_json(),
        "format": FORMAT,
        "parent": None,
        "tokenizer_hash": "t",
        "turn": "1",
        "pass_id": "1",
        "events": {},
        "recipe": {},
        "seed": 0,
    }
    return {**values, **changed}
