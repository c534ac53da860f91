"""Deletes old interactions that no event names, and old counts of gateways: a loop of the fleet's leader."""

from threading import Event

import structlog

from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.upkeep import retention
from ledger.versions import live_counts

log = structlog.get_logger(__name__)

EVERY_S = 3600.0
PAUSE_S = 0.05
"""Pause between two transactions: other roles write too."""


def run(database: Database, days: int, over: Event, *, every_s: float = EVERY_S) -> None:
    """Prune now and then every hour until `over` is set. With 0 days no interaction is ever deleted."""
    while not over.is_set():
        try:
            live_counts.delete_old(database)
            if days:
                prune(database, days, over)
        except LedgerUnavailable as fault:
            log.warning("interactions not pruned", fault=str(fault))
        over.wait(every_s)


def prune(database: Database, days: int, over: Event) -> int:
    """Delete interactions older than `days` that no event names, unless told to stop. Returns how many."""
    deleted = 0
    for ids in retention.pages(database, older_than_s=days * retention.DAY_S):
        deleted += retention.delete_unneeded(database, ids)
        if over.wait(PAUSE_S if ids else 0.0):
            break
    if deleted:
        log.info("interactions pruned", interactions=deleted, older_than_days=days)
    return deleted
