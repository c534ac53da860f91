"""`clorad retract`, `restore` and `undo`: what a person decides about events, whoever sent them."""

from collections.abc import Callable
from typing import Any

from daemon.commands.acting.contradicting import contradicting
from daemon.commands.ledger import opened
from daemon.console import CommandFailed, short
from daemon.settings import Settings
from ledger.database import Connection, Database
from ledger.errors import EventDecisionRefused
from ledger.events import KeptEvent
from ledger.intake.withdrawn import GONE
from ledger.learning import event_decisions, event_queries
from ledger.learning.event_decisions import EventDecision
from ledger.reports.affected_versions import affected_versions
from ledger.upkeep.mentions import taught_with


def retract(settings: Settings, uid: str, *, by: str, reason: str) -> dict[str, Any]:
    """The event counts no more."""
    with opened(settings) as database:
        kept = _event(database, uid)
        return _decide(database, lambda: event_decisions.retract(database, kept, by=by, reason=reason))


def restore(settings: Settings, uid: str, *, by: str, reason: str) -> dict[str, Any]:
    """The event counts again; what withdrew it, and its author's later words on its prompt, do not."""
    with opened(settings) as database:
        kept = _event(database, uid)
        with database.read() as connection:
            against = _later_words(connection, kept)
        return _decide(
            database, lambda: event_decisions.restore(database, kept, against, by=by, reason=reason)
        )


def undo(settings: Settings, number: int, *, by: str, reason: str) -> dict[str, Any]:
    """What an earlier decision changed is as before."""
    with opened(settings) as database:
        return _decide(database, lambda: event_decisions.undo(database, number, by=by, reason=reason))


def _decide(database: Database, decide: Callable[[], EventDecision]) -> dict[str, Any]:
    """The decision, and the versions that learned from what counts no more."""
    try:
        decision = decide()
    except EventDecisionRefused as refusal:
        raise CommandFailed(str(refusal)) from None
    with database.read() as connection:
        uids = (decision.event, *decision.changed)
        changed = [kept for uid in uids for kept in event_queries.event_by_uid(connection, uid)]
        taught = taught_with(connection, [kept.seq for kept in changed if kept.status.value in GONE])
        affected = [
            affected_versions(connection, agent, versions).to_json() for agent, versions in taught.items()
        ]
    return {**decision.to_json(), "taught": affected}


def _event(database: Database, uid: str) -> KeptEvent:
    with database.read() as connection:
        events = event_queries.event_by_uid(connection, uid)
    if len(events) != 1:
        complaint = "several events are" if events else "no event is"
        raise CommandFailed(f"{complaint} called {short(uid, 80)}; say SOURCE#ID as its receipt does")
    return events[0]


def _later_words(connection: Connection, kept: KeptEvent) -> list[KeptEvent]:
    """Later corrections of the same prompt in the name of the same author that want another reply."""
    return [
        other
        for other in contradicting(connection, kept)
        if other.seq > kept.seq and other.event.author == kept.event.author
    ]
