"""Training a recorded pass again, to see that it gives the same adapters, bit for bit."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.lessons import prepare
from daemon.warming import EngineRefused
from engine.lesson import NotLearned
from engine.warm_engine import WarmEngine
from ledger.database import Database
from ledger.turns import Pass
from ledger.versions import version


class NotRepeatable(EngineRefused):
    """The pass was trained in a form this machine or these settings do not have. Names the differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One turn of the pass, then and now."""

    agent: str
    number: int
    recorded: str | None  # content hash; None where the turn made no version
    again: str | None
    note: str = ""

    @property
    def same(self) -> bool:
        return self.recorded == self.again


def replay(
    database: Database,
    engine: WarmEngine,
    store: Path,
    recorded: Pass,
    *,
    heartbeat: Callable[[], None] = lambda: None,
) -> list[Replayed]:
    """Train the pass again in a scratch directory and compare content hashes. Writes nothing else."""
    form = engine.form()
    if different := engine.differs(recorded.form):
        raise NotRepeatable(
            "; ".join(f"{key}: {recorded.form.get(key)} then, {form.get(key)} now" for key in different)
        )
    prepared = [prepare(database, store, turn) for turn in recorded.turns]
    results = engine.learn([one.lesson for one in prepared], heartbeat=heartbeat, form=recorded.form)
    found = []
    with tempfile.TemporaryDirectory() as scratch, database.read() as connection:
        for turn, result in zip(recorded.turns, results, strict=True):
            made = version(connection, turn.plan.agent, turn.number)
            again, note = None, ""
            if isinstance(result, NotLearned):
                note = result.reason
            else:
                again = engine.save(result, Path(scratch) / str(turn.id)).content_hash
            then = None if made is None else made.hash
            found.append(
                Replayed(agent=turn.plan.agent, number=turn.number, recorded=then, again=again, note=note)
            )
    return found
