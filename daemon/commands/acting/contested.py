"""`clorad contested`: shows what people disagree about, and settles it for one side or retracts one."""

from typing import Any

from daemon.commands.acting.contradicting import contradicting, wanted_text
from daemon.commands.ledger import opened, reading
from daemon.console import CommandFailed, console, moment, short, show_json, table
from daemon.settings import Settings
from ledger.database import Database
from ledger.events import KeptEvent
from ledger.learning import contested, event_decisions, event_queries
from rewards.exchange import asked


def show(settings: Settings, *, agent: str | None, limit: int, as_json: bool) -> None:
    """Print the newest contested events with what stands beside them."""
    with reading(settings) as connection:
        contested_events = contested.contested(
            connection, agents=None if agent is None else [agent], limit=limit
        )
    if as_json:
        show_json([contested_event.to_json() for contested_event in contested_events])
        return
    rows = table("EVENT", "AGENT", "AUTHOR", "PROMPT", "WANTS", "OTHERS WANT", "WHY", "WHEN")
    for contested_event in contested_events:
        others = [
            wanted_text(other)
            for other in contested_event.beside
            if wanted_text(other) != wanted_text(contested_event.kept)
        ]
        rows.add_row(
            short(contested_event.kept.event.uid, 60),
            contested_event.kept.event.agent,
            short(contested_event.kept.event.author, 20),
            short(asked(tuple(contested_event.kept.event.data.get("messages") or ())), 40),
            short(wanted_text(contested_event.kept), 40),
            short("; ".join(dict.fromkeys(others)), 40),
            short(contested_event.reason, 60),
            moment(contested_event.kept.received_s),
        )
    console().print(rows if contested_events else "nothing is contested")


def settle(settings: Settings, uid: str, *, by: str, reason: str) -> dict[str, Any]:
    """Let one event count from now on; what wants another reply to the same prompt no longer does.

    Where its prompt is not known, the others go on counting.
    """
    with opened(settings) as database:
        kept = _contested_event(database, uid)
        with database.read() as connection:
            against = contradicting(connection, kept)
        decision = event_decisions.settle(database, kept, against, by=by, reason=reason)
    uid, superseded = kept.event.uid, [other.event.uid for other in against]
    return {"event": uid, "superseded": superseded, "by": by, "decision": decision.id}


def retract(settings: Settings, uid: str, *, by: str, reason: str) -> dict[str, Any]:
    """Take a contested event back."""
    with opened(settings) as database:
        kept = _contested_event(database, uid)
        decision = event_decisions.retract(database, kept, by=by, reason=reason)
    return {"event": kept.event.uid, "by": by, "decision": decision.id}


def _contested_event(database: Database, uid: str) -> KeptEvent:
    with database.read() as connection:
        events = event_queries.event_by_uid(connection, uid)
        contested_events = [item for kept in events for item in contested.contested(connection, seq=kept.seq)]
    if len(contested_events) != 1:
        complaint = "several contested events are" if contested_events else "no contested event is"
        raise CommandFailed(f"{complaint} called {short(uid, 80)}; `clorad contested list` has them")
    return contested_events[0].kept
