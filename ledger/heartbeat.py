"""Holds leases during slow work: a thread renews them until the work ends."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from ledger import leases
from ledger.database import Database
from ledger.errors import LeaseLost, LedgerRefused, LedgerUnavailable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """The leases that this process holds, with their fencing tokens by name."""

    tokens: Mapping[str, int]
    lost: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises `LeaseLost` once any of the leases is lost."""
        if self.lost.is_set():
            raise LeaseLost(", ".join(sorted(self.tokens)))


@contextmanager
def hold_leases(database: Database, names: Sequence[str], *, holder: str, ttl_s: float) -> Iterator[Leased]:
    """Lease those of `names` that are free (perhaps none), and renew the leases until the block ends."""
    leased = Leased(tokens=leases.acquire(database, names, holder=holder, ttl_s=ttl_s) if names else {})
    if not leased.tokens:
        yield leased
        return
    done = threading.Event()
    renewal = threading.Thread(
        target=_renew, args=(database, leased, ttl_s, done), name="lease-heartbeat", daemon=True
    )
    renewal.start()
    try:
        yield leased
    finally:
        done.set()
        renewal.join(timeout=ttl_s)
        _release(database, leased)


def _renew(database: Database, leased: Leased, ttl_s: float, done: threading.Event) -> None:
    renewed_s = time.monotonic()
    while not done.wait(ttl_s / 4):
        try:
            if leases.renew(database, leased.tokens, ttl_s=ttl_s) == set(leased.tokens):
                renewed_s = time.monotonic()
                continue
        except LedgerUnavailable:
            if time.monotonic() - renewed_s < ttl_s:
                continue  # the ledger may come back before the lease runs out
        except LedgerRefused as refusal:
            log.critical("leases cannot be kept", why=str(refusal))
        log.warning("lease lost", names=sorted(leased.tokens))
        leased.lost.set()
        return


def _release(database: Database, leased: Leased) -> None:
    try:
        leases.release(database, leased.tokens)
    except (LedgerUnavailable, LedgerRefused):
        log.warning("lease not released, it will expire", names=sorted(leased.tokens))
