"""Lets interactions go that no event is about: a quiet loop beside the outbox, of whoever leads the fleet."""

from threading import Event

import structlog

from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.upkeep import retention

log = structlog.get_logger(__name__)

EVERY_S = 3600.0
PAUSE_S = 0.05
"""Between two transactions: others want to write too."""


def run(database: Database, days: int, over: Event, *, every_s: float = EVERY_S) -> None:
    """Prune now and then every hour, until told to stop. With 0 days nothing goes, ever."""
    while not over.is_set():
        if days:
            try:
                prune(database, days, over)
            except LedgerUnavailable as fault:
                log.warning("interactions not pruned", fault=str(fault))
        over.wait(every_s)


def prune(database: Database, days: int, over: Event) -> int:
    """Interactions older than that which no event is about are gone, or the role is stopping."""
    gone = 0
    for ids in retention.pages(database, older_than_s=days * retention.DAY_S):
        gone += retention.delete_unneeded(database, ids)
        if over.wait(PAUSE_S if ids else 0.0):
            break
    if gone:
        log.info("interactions pruned", interactions=gone, older_than_days=days)
    return gone
