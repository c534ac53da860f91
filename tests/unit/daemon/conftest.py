"""A ledger with a little of everything in it, and the command line as a function."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from daemon.cli.app import main
from ledger.database import Database
from ledger.events import Arrival, Batch, Event, Reason, Role
from ledger.topic_names import DEAD_LETTERS_TOPIC
from ledger.versions import promotion, routing
from ledger.versions.decisions import Verdict
from tests.unit.ledger.event_builder import FEEDBACK, build_event, build_unusable, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import (
    build_decision,
    build_evidence,
    build_version,
    lease,
    open_pass,
    refuse,
)

if TYPE_CHECKING:  # with torch: only the doctor's tests load it
    from engine.served_tokens import ServedTokens
    from tests.unit.daemon.doctor.doctored_installation import DoctoredInstallation


@dataclass(frozen=True)
class CommandResult:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Clorad = Callable[..., CommandResult]


@pytest.fixture
def clorad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Clorad:
    """Runs the command line in an empty directory, with only the settings given."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CLORAD_")]:
        monkeypatch.delenv(name)

    def run(
        *words: str, stdin: str = "", env: Mapping[str, str] | None = None, terminal: bool = False
    ) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["clorad", *words])
        typed = io.StringIO(stdin)
        monkeypatch.setattr(typed, "isatty", lambda: terminal, raising=False)
        monkeypatch.setattr(sys, "stdin", typed)
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return CommandResult(int(ended.value.code or 0), captured.out, captured.err)

    return run


def correction(id: str, **changed: Any) -> Event:
    data = {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": f"cancel order {id}"},
        ],
        "rejected": "Your order was dropped.",
        "corrected": f"Order {id} is cancelled. notify: true",
    }
    return build_event(id, data=data, **changed)


@pytest.fixture
def story(tmp_path: Path, story_ledger: bytes) -> Path:
    """billing: v1 promoted, v2 refused, a turn running; sql: a candidate at the gate; coder: untouched."""
    path = tmp_path / "clorad.db"
    path.touch(mode=0o600)
    path.write_bytes(story_ledger)
    with closing(Database(f"sqlite:///{path}")) as database:
        lease(database, "billing")  # now: a lease expires
    return path


@pytest.fixture(scope="session")
def story_ledger(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of the ledger of `story`: most tests that need it take less time than making it."""
    path = tmp_path_factory.mktemp("story") / "clorad.db"
    database = build_ledger(path, "billing", "coder", "sql")
    keep(database, *[correction(f"e{n}", author="bob" if n % 3 else "ann") for n in range(3)])
    keep(database, correction("g1", role=Role.GATE), build_unusable(), build_unusable(Reason.OVERSIZED))
    made = build_version(database)
    won = build_evidence("dev#g1")
    promotion.promote(database, made, build_decision(made, Verdict.PROMOTE, evidence=won))
    keep(database, correction("f1"), correction("f2"))
    refuse(
        database,
        build_version(database),
        evidence=build_evidence("dev#g1", reasons=("harm: 4 of 48 prompts became worse",)),
    )
    keep(database, correction("h1", agent="sql"))
    build_version(database, "sql")
    open_pass(database, "billing")
    replicas = [
        routing.ReplicaState(url="http://127.0.0.1:8001", in_rotation=True, base_name="base", models=("m",)),
        routing.ReplicaState(
            url="http://127.0.0.1:8002", in_rotation=False, base_name=None, models=(), note="refused"
        ),
    ]
    routing.record_replicas(database, replicas)
    bury(database, b'{"id": "lost", "source": "ide"')
    database.close()
    return path.read_bytes()


def bury(database: Database, value: bytes) -> None:
    from ledger.intake import transaction

    start = transaction.start_at(database, FEEDBACK, 0)
    headers = (("ce_id", b"lost"), ("ce_source", b"ide"))
    content = build_unusable(Reason.INVALID_JSON)
    arrival = Arrival(offset=start, key=b"k", value=value, headers=headers, content=content)
    batch = Batch(partition=FEEDBACK, start=start, end=start + 1, arrivals=(arrival,))
    transaction.keep(database, [batch], dead_letter_topic=DEAD_LETTERS_TOPIC)


@pytest.fixture(scope="session")
def served_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base that the replica of `installation` serves."""
    from tests.unit.engine.tiny_base import build_base_directory

    return build_base_directory(tmp_path_factory.mktemp("served") / "base")


@pytest.fixture(scope="session")
def served_tokens(served_base: Path) -> "ServedTokens":
    from engine.served_tokens import ServedTokens

    return ServedTokens(served_base)


@pytest.fixture
def installation(
    tmp_path: Path, served_base: Path, served_tokens: "ServedTokens", monkeypatch: pytest.MonkeyPatch
) -> "Iterator[DoctoredInstallation]":
    """A healthy installation on fakes, in which a test plants a fault."""
    from feedback import cluster_state
    from tests.unit.daemon.doctor.doctored_installation import build_installation

    monkeypatch.setattr(cluster_state, "COORDINATOR_S_MAX", 0.1)
    built = build_installation(tmp_path, served_base, served_tokens)
    yield built
    built.vllm.kill()
