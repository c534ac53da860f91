"""What becomes of a trained turn whose version cannot be published."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from daemon.learning.learner import Learner
from daemon.learning.loop import start_pass
from engine.adapter_files import Files
from engine.lesson import Learned
from engine.manifest import MANIFEST
from engine.warm_engine import WarmEngine
from ledger import schema
from ledger.database import Database
from ledger.turn_states import TurnState
from ledger.versions.lineage import version_name, versions_of
from tests.unit.daemon.learning.test_loop import database, engine, learner, make_due

__all__ = ["database", "engine", "learner"]  # fixtures


def write_no_manifest(_directory: Path) -> None:
    """The directory stays empty."""


def write_damaged_manifest(directory: Path) -> None:
    (directory / MANIFEST).write_text("not a manifest")


def write_newer_manifest(directory: Path) -> None:
    (directory / MANIFEST).write_text(json.dumps({"format": 99}))


class EngineWithRival:
    """An engine beside which something writes a directory with the name of its first version."""

    def __init__(self, inner: WarmEngine, write_manifest: Callable[[Path], None]) -> None:
        self._inner = inner
        self._write_manifest = write_manifest

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def save(self, learned: Learned, draft: Path) -> Files:
        files = self._inner.save(learned, draft)
        rival = draft.with_name(version_name(1, files.content_hash))
        rival.mkdir()
        (rival / "weights").write_bytes(b"other weights")
        self._write_manifest(rival)
        return files


def turn_rows(database: Database) -> list[tuple[str, str]]:
    with database.read() as connection:
        query = select(schema.turns.c.state, schema.turns.c.reason).order_by(schema.turns.c.id)
        return [(row.state, row.reason or "") for row in connection.execute(query)]


@pytest.mark.parametrize(
    ("write_manifest", "reason"),
    [
        (write_no_manifest, "exists and has no readable manifest"),
        (write_damaged_manifest, "exists and has no readable manifest"),
        (write_newer_manifest, "has format 99, this clorad reads"),
    ],
)
def test_a_directory_with_the_versions_name_makes_the_turn_void_and_the_learner_goes_on(
    learner: Learner,
    database: Database,
    engine: WarmEngine,
    write_manifest: Callable[[Path], None],
    reason: str,
) -> None:
    make_due(database, "billing")
    blocked = replace(learner, engine=EngineWithRival(engine, write_manifest))
    assert start_pass(blocked, threading.Event())
    [(state, stored_reason)] = turn_rows(database)
    assert (state, reason in stored_reason) == (TurnState.VOID.value, True), stored_reason

    assert start_pass(learner, threading.Event()), "the agent is due again"
    assert [state for state, _ in turn_rows(database)] == [TurnState.VOID.value, TurnState.MADE.value]
    with database.read() as connection:
        assert [version.number for version in versions_of(connection, "billing")] == [2]
