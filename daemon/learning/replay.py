"""Trains a recorded pass again, to see that it gives the same adapters, bit for bit."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.learning.engine_loading import EngineRefused
from daemon.learning.preparing import prepare_turn, read_background
from engine.backend import Backend
from engine.lesson import NotLearned
from ledger.database import Connection, Database
from ledger.events import Interaction, KeptEvent
from ledger.learning.event_queries import events_by_seq
from ledger.learning.passes import Pass
from ledger.learning.turns import Turn
from ledger.versions.lineage import BASE, pruned_notice, version


class NotRepeatable(EngineRefused):
    """The pass cannot be repeated: this machine or these settings differ, or what it was made of is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedTurn:
    """One turn of the pass: the content hash on record, and the one that training again gave."""

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
    """Train the pass again in a scratch directory and compare content hashes. Writes nothing else.

    Raises `NotRepeatable`.
    """
    _refuse_what_cannot_be_repeated(database, engine, recorded)
    prepared_turns = [prepare_turn(database, store, turn) for turn in recorded.turns]
    lessons = [prepared.lesson for prepared in prepared_turns]
    results = engine.learn(lessons, heartbeat=heartbeat, form=recorded.form)
    replayed = []
    with tempfile.TemporaryDirectory() as scratch, database.read() as connection:
        for turn, result in zip(recorded.turns, results, strict=True):
            before = version(connection, turn.plan.agent, turn.number)
            again, note = None, ""
            if isinstance(result, NotLearned):
                note = result.reason
            else:
                again = engine.save(result, Path(scratch) / str(turn.id)).content_hash
            replayed.append(
                ReplayedTurn(
                    agent=turn.plan.agent,
                    number=turn.number,
                    recorded=None if before is None else before.hash,
                    again=again,
                    note=note,
                )
            )
    return replayed


def _refuse_what_cannot_be_repeated(database: Database, engine: Backend, recorded: Pass) -> None:
    form = engine.form()
    if names := engine.differs(recorded.form):
        raise NotRepeatable(
            "; ".join(f"{name}: {recorded.form.get(name)} then, {form.get(name)} now" for name in names)
        )
    with database.read() as connection:
        if losses := [loss for turn in recorded.turns for loss in _losses(connection, turn)]:
            raise NotRepeatable("; ".join(losses))


def _losses(connection: Connection, turn: Turn) -> list[str]:
    """What the turn was made of and is gone since, in words: a pruned parent, forgotten texts."""
    plan = turn.plan
    parent = None if plan.parent == BASE else version(connection, plan.agent, plan.parent)
    losses = [] if parent is None or parent.pruned_s is None else [pruned_notice(parent)]
    events = list(events_by_seq(connection, [event.seq for event in plan.events]).values())
    background = read_background(connection, plan.agent, events)
    records: list[KeptEvent | Interaction] = [
        *events,
        *background.interactions.values(),
        *(interaction for whole in background.conversations.values() for interaction in whole),
    ]
    if erasures := sorted({record.forgotten for record in records if record.forgotten}):
        names = ", ".join(f"erasure {number}" for number in erasures)
        losses.append(f"some of what {plan.agent}'s turn was made of was forgotten since ({names})")
    return losses
