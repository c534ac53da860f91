"""Tells people by webhooks that one of them is needed: loops of the fleet's leader.

One loop notes in the ledger what is to be told, and one for each receiver sends it, so that a receiver that
is slow or dead holds up no other, and no other work of the role.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog
from opentelemetry import metrics

from daemon.notices.courier import Courier, PostOutcome
from daemon.notices.finding import (
    DEAD_LETTERS_SINCE,
    PASSING,
    Notice,
    NoticeRules,
    kind_of,
    needs_now,
    withdrawn_since,
)
from daemon.notices.messages import Form, written
from feedback.backoff import Backoff
from feedback.counters import start_at_zero
from feedback.gauge import Gauge
from ledger.database import Connection, Database
from ledger.errors import LedgerUnavailable
from ledger.facts import fact, set_fact
from ledger.notices import queue
from ledger.notices.kinds import NoticeKind
from ledger.notices.queue import Ending, NewNotice, NoticeMessage
from ledger.reports.health import newest_decision

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("daemon")
_noted = _meter.create_counter(
    "clorad.notices.noted", unit="{notice}", description="facts that people are to be told by webhooks"
)
_tries = _meter.create_counter(
    "clorad.notices.tries",
    unit="{try}",
    description="messages posted to webhooks, by what became of them",
)
_waiting = Gauge(
    _meter, "clorad.notices.waiting", unit="{notice}", description="notices that wait for their receiver"
)
_oldest = Gauge(_meter, "clorad.notices.oldest", unit="s", description="age of the oldest of them")

EVERY_S = 10.0
TIME_SHARE_MAX = 0.05
"""Share of the time that looking may take: counting long backlogs takes seconds."""

IDLE_S = 1.0
RETRY_S_MAX = 600.0
REFUSALS_MAX = 5
"""Times that a receiver may refuse a message (status 3xx or 4xx) before the message is given up."""

TOLD_THROUGH = "notices told through"
"""The name under which the ledger has through which decision withdrawals were noted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One webhook, and what it gets."""

    name: str
    courier: Courier
    kinds: frozenset[NoticeKind]
    form: Form
    interval_s: float  # between two messages
    give_up_s: float  # after which a message is tried no more


def look(database: Database, rules: NoticeRules, receivers: Mapping[str, frozenset[NoticeKind]]) -> int:
    """Note what the receivers (by name, with the kinds that they get) were not told. Returns how many facts.

    Raises `LedgerUnavailable`.
    """
    with database.read() as connection:
        newest = newest_decision(connection)
        current = needs_now(connection, rules)
        withdrawn, through = withdrawn_since(
            connection, int(fact(connection, TOLD_THROUGH) or newest), newest
        )
    wanted = {
        name: [notice for notice in (*withdrawn, *current) if notice.kind in kinds]
        for name, kinds in receivers.items()
    }
    with database.write() as connection:
        noted = sum(
            queue.note(
                connection,
                name,
                [NewNotice(fact=each.fact, body=each.to_json(rules.dashboard)) for each in notices],
            )
            for name, notices in wanted.items()
        )
        if _all_noted(connection, wanted, withdrawn):
            set_fact(connection, TOLD_THROUGH, through)
        _remember_letters(connection, current)
        for name, notices in wanted.items():
            queue.end_past(connection, name, partial(_is_past, {notice.fact for notice in notices}))
        queue.drop_receivers(connection, receivers)
        queue.forget_old(connection, {notice.fact for notice in current})
    return noted


def run_looks(
    database: Database,
    rules: NoticeRules,
    receivers: Mapping[str, frozenset[NoticeKind]],
    over: threading.Event,
) -> None:
    """Look every `EVERY_S` seconds, less often where it takes long, until `over` is set."""
    start_at_zero(_noted)
    while not over.is_set():
        began_s = time.monotonic()
        try:
            _noted.add(look(database, rules, receivers))
        except LedgerUnavailable as fault:
            log.warning("needs of people not read", fault=str(fault))
        over.wait(max(EVERY_S, (time.monotonic() - began_s) / TIME_SHARE_MAX))


@dataclass(slots=True, kw_only=True)
class Telling:
    """Sends one receiver's messages, one at a time, each until it is taken or given up."""

    database: Database
    receiver: Receiver
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=2.0, s_max=RETRY_S_MAX))
    clock: Callable[[], float] = time.monotonic
    _refusals: int = 0
    _next_s: float = 0.0  # by the clock: no try before

    def run(self, over: threading.Event) -> None:
        """Send until `over` is set."""
        name = self.receiver.name
        for fate in ("delivered", "failed", "given_up"):
            start_at_zero(_tries, {"receiver": name, "fate": fate})
        while not over.is_set():
            try:
                self.step(over)
                depth = queue.depth(self.database, name)
                _waiting.set(depth.waiting, {"receiver": name})
                _oldest.set(depth.oldest_age_s, {"receiver": name})
            except LedgerUnavailable as fault:
                log.warning("notices not read", receiver=name, fault=str(fault))
            over.wait(IDLE_S)
        for gauge in (_waiting, _oldest):
            gauge.withdraw()

    def step(self, over: threading.Event) -> None:
        """Try the next message if it is time. Raises `LedgerUnavailable`."""
        if self.clock() < self._next_s:
            return
        message = queue.next_message(self.database, self.receiver.name)
        if message is None:
            return
        posted = written(message.id, message.notices, form=self.receiver.form, noted_s=message.noted_s)
        outcome = self.receiver.courier.post(posted, over)
        if over.is_set() and not outcome.delivered:
            return
        if outcome.delivered:
            self._end(message, Ending.DELIVERED, self.receiver.interval_s)
            log.info("notice delivered", receiver=self.receiver.name, notices=len(message.notices))
            return
        self._refusals += outcome.is_refusal
        log.warning("notice not delivered", receiver=self.receiver.name, fault=outcome.reason)
        if self._refusals >= REFUSALS_MAX or message.age_s > self.receiver.give_up_s:
            self._give_up(message, outcome)
        else:
            _tries.add(1, {"receiver": self.receiver.name, "fate": "failed"})
            self._next_s = self.clock() + self.backoff.next_s()

    def _give_up(self, message: NoticeMessage, outcome: PostOutcome) -> None:
        self._end(message, Ending.GIVEN_UP, self.receiver.interval_s)
        facts = [notice["fact"] for notice in message.notices]
        log.error("notice given up", receiver=self.receiver.name, fault=outcome.reason, facts=facts)

    def _end(self, message: NoticeMessage, ending: Ending, pause_s: float) -> None:
        queue.end_message(self.database, message, ending)
        _tries.add(1, {"receiver": self.receiver.name, "fate": ending.value})
        self.backoff.reset()
        self._refusals = 0
        self._next_s = self.clock() + pause_s


def _is_past(present: set[str], fact: str) -> bool:
    """Whether a fact that says how things are is none of the present ones."""
    return kind_of(fact) in PASSING and fact not in present


def _all_noted(connection: Connection, wanted: Mapping[str, list[Notice]], withdrawn: list[Notice]) -> bool:
    """Whether every receiver's queue had room for the withdrawals: else they are read again."""
    facts = {notice.fact for notice in withdrawn}
    return all(
        queue.known_facts(connection, name, due) == due
        for name, notices in wanted.items()
        for due in [{notice.fact for notice in notices} & facts]
    )


def _remember_letters(connection: Connection, current: list[Notice]) -> None:
    """Since which letter there are too many: it names the fact until there are few again."""
    since = next((notice.id for notice in current if notice.kind is NoticeKind.DEAD_LETTERS), "")
    if (fact(connection, DEAD_LETTERS_SINCE) or "") != since:
        set_fact(connection, DEAD_LETTERS_SINCE, since)
