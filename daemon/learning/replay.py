"""Training a recorded pass again, to see that it gives the same adapters, bit for bit."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.learning.engine_loading import EngineRefused
from daemon.learning.preparing import prepare_turn, read_background
from engine.backend import Backend
from engine.lesson import NotLearned
from ledger.database import Connection, Database
from ledger.learning.event_queries import events_by_seq
from ledger.learning.passes import Pass
from ledger.learning.turns import Turn
from ledger.versions.lineage import BASE, pruned_notice, version


class NotRepeatable(EngineRefused):
    """The pass was trained in a form this machine or these settings do not have, or on what is gone since.
    Names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedTurn:
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
    engine: Backend,
    store: Path,
    recorded: Pass,
    *,
    heartbeat: Callable[[], None] = lambda: None,
) -> list[ReplayedTurn]:
    """Train the pass again in a scratch directory and compare content hashes. Writes nothing else."""
    form = engine.form()
    if different := engine.differs(recorded.form):
        raise NotRepeatable(
            "; ".join(f"{key}: {recorded.form.get(key)} then, {form.get(key)} now" for key in different)
        )
    with database.read() as connection:
        if gone := [why for turn in recorded.turns for why in _gone(connection, turn)]:
            raise NotRepeatable("; ".join(gone))
    prepared = [prepare_turn(database, store, turn) for turn in recorded.turns]
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
                ReplayedTurn(agent=turn.plan.agent, number=turn.number, recorded=then, again=again, note=note)
            )
    return found


def _gone(connection: Connection, turn: Turn) -> list[str]:
    """What a turn was made of and nobody has any more."""
    plan = turn.plan
    parent = None if plan.parent == BASE else version(connection, plan.agent, plan.parent)
    found = [] if parent is None or parent.pruned_s is None else [pruned_notice(parent)]
    kept = events_by_seq(connection, [one.seq for one in plan.events]).values()
    around = read_background(connection, plan.agent, list(kept))
    numbers = {one.forgotten for one in kept} | {one.forgotten for one in around.interactions.values()}
    numbers |= {one.forgotten for talk in around.conversations.values() for one in talk}
    if any(numbers):
        named = ", ".join(f"erasure {number}" for number in sorted(filter(None, numbers)))
        found.append(f"some of what {plan.agent}'s turn was made of was forgotten since ({named})")
    return found
