"""What `clorad receipt` says of one event: what became of it, which prompt is taught, what comes next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daemon.console import CommandFailed, short
from daemon.roles.canaries import canary_options
from daemon.settings import Settings
from ledger.database import Database
from ledger.events import DeadLetter, KeptEvent, Kind
from ledger.intake import dead_letters
from ledger.learning import event_queries
from ledger.learning.retries import NextTry
from ledger.reports.receipts import Fate, Receipt, receipt
from ledger.reports.upcoming import upcoming_try
from ledger.turn_states import TurnPart
from ledger.versions.decisions import Verdict
from rewards.exchange import History
from rewards.takeovers import flaws_of, operator_turns
from serving.canary.waiting import waiting_candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptDocument:
    """Every event of one name with its receipt; the dead letters of that name where there is none."""

    receipts: tuple[Receipt, ...]
    letters: tuple[DeadLetter, ...]
    waits: Mapping[str, str]  # what the candidate of each agent waits for
    upcoming: Mapping[str, NextTry]  # by agent
    history: History  # the interactions that the events name

    def to_json(self) -> dict[str, Any]:
        """The receipts for programs."""
        return {
            "receipts": [
                {
                    **event_receipt.to_json(),
                    "prompt": self.prompt_text(event_receipt.kept),
                    "left_out": list(self.left_out(event_receipt.kept)),
                    "next": self.next_text(event_receipt),
                }
                for event_receipt in self.receipts
            ],
            "dead_letters": [dead_letters.to_json(letter) for letter in self.letters],
        }

    def prompt_text(self, kept: KeptEvent) -> str | None:
        """How the prompt that is taught is known; None where nothing is taught of the event."""
        if kept.event.kind is Kind.RETRACTION or kept.forgotten is not None:
            return None
        return self.history.prompt_of(kept.event)

    def left_out(self, kept: KeptEvent) -> tuple[str, ...]:
        """The operator's turns of a takeover that cannot be taught, and why."""
        exchange = self.history.about(kept.event)
        return flaws_of(operator_turns(kept.event, exchange.messages, exchange.request))

    def next_text(self, event_receipt: Receipt) -> str | None:
        """What comes next for an event whose last candidate was refused; None for every other event."""
        taught_in = [turn for turn in event_receipt.turns if turn.part is TurnPart.NEW]
        was_refused = bool(taught_in) and taught_in[-1].verdict is Verdict.REFUSE
        if event_receipt.fate is not Fate.QUEUED or not was_refused:
            return None
        return self.upcoming[event_receipt.kept.event.agent].text


def read_receipts(settings: Settings, database: Database, uid: str) -> ReceiptDocument:
    """What became of the event `SOURCE#ID`, or of all events with that bare id. Raises `CommandFailed`."""
    with database.read() as connection:
        events = event_queries.event_by_uid(connection, uid)
        receipts = tuple(receipt(connection, kept) for kept in events)
        named = event_queries.interactions_named(
            connection, [kept.event.interaction or "" for kept in events]
        )
        talks = {
            name: event_queries.conversation(connection, kept.event.agent, name)
            for kept in events
            if (name := kept.event.conversation)
        }
        letters = () if receipts else tuple(dead_letters.letters_named(connection, uid))
        waits = waiting_candidates(connection, canary_options(settings))
        upcoming = {
            agent: upcoming_try(connection, agent, refusals_max=settings.learning.refusals_max)
            for agent in {event_receipt.kept.event.agent for event_receipt in receipts}
        }
    if not receipts and not letters:
        raise CommandFailed(
            f"nothing called {short(uid, 80)} arrived: neither as an event nor as a dead letter"
        )
    return ReceiptDocument(
        receipts=receipts,
        letters=letters,
        waits=waits,
        upcoming=upcoming,
        history=History(interactions=named, conversations=talks),
    )
