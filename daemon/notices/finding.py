"""Finds what needs a person now, and says what, why, by which command, and on which page of the dashboard.

A notice has names of agents, versions and events, and reasons that clorad wrote. It has no text of a person.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from daemon.console import count, lasting, short
from daemon.learning.scheduler import Freshness, lacks, replies_of
from ledger.database import Connection, now_s
from ledger.facts import fact
from ledger.intake import dead_letters
from ledger.learning.agents import all_agents
from ledger.learning.backlog import Backlog, backlogs
from ledger.learning.silent_replies import StayingReplies
from ledger.notices import needs
from ledger.notices.kinds import NoticeKind
from ledger.versions import decisions
from ledger.versions.desired import Purpose, wanted
from serving.canary.admission import admissions
from serving.canary.steps import CanaryOptions

DEAD_LETTERS_SINCE = "notices dead letters"
"""The name under which the ledger has since which letter there are too many; empty while there are not."""

PASSING = frozenset(NoticeKind) - {NoticeKind.ROLLED_BACK, NoticeKind.CANARY_WITHDRAWN}
"""Kinds that say how things are now: they need not be told any more once that is over."""

_WHY_CHARS_MAX = 500
_UID_CHARS_MAX = 200  # a longer one is no part of a command


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRules:
    """When people are needed, by the settings."""

    abstentions: int
    dead_letters: int
    without_evidence_s: float
    freshness: Freshness
    canary: CanaryOptions
    dashboard: str | None  # its URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One fact that needs a person."""

    kind: NoticeKind
    id: str  # of the fact, within its kind
    what: str
    why: str
    command: str  # that decides, or shows what can be done
    page: str  # of the dashboard
    since_s: float  # Unix time
    agent: str | None = None

    @property
    def fact(self) -> str:
        """The name of the fact: it is told once."""
        return f"{self.kind.value} {self.id}"

    def to_json(self, dashboard: str | None) -> dict[str, Any]:
        """The notice as it is sent."""
        return {
            "kind": self.kind.value,
            "fact": self.fact,
            "agent": self.agent,
            "what": short(self.what, _WHY_CHARS_MAX),
            "why": short(self.why, _WHY_CHARS_MAX),
            "command": self.command,
            "link": None if dashboard is None else dashboard.rstrip("/") + self.page,
            "since": datetime.fromtimestamp(self.since_s, UTC).isoformat(timespec="seconds"),
        }


def kind_of(fact: str) -> NoticeKind:
    """The kind of the fact of this name."""
    return NoticeKind(fact.partition(" ")[0])


def needs_now(connection: Connection, rules: NoticeRules) -> list[Notice]:
    """What needs a person as things are now."""
    return [
        *_unconfirmed(connection, rules),
        *_contested(connection),
        *_abstained(connection, rules),
        *_too_many_letters(connection, rules),
        *_without_evidence(connection, rules),
    ]


def withdrawn_since(connection: Connection, after: int, newest: int) -> tuple[list[Notice], int]:
    """Versions that were withdrawn by themselves after that decision, and the last decision that was read.

    `newest` is the newest decision of all.
    """
    rows = needs.withdrawals(connection, after=after)
    is_all = len(rows) < needs.DECISIONS_MAX
    return [_withdrawal(row) for row in rows], newest if is_all else rows[-1].decision


def _withdrawal(row: needs.Withdrawal) -> Notice:
    version = f"{row.agent}@{row.version}"
    return Notice(
        kind=NoticeKind.ROLLED_BACK if row.had_served else NoticeKind.CANARY_WITHDRAWN,
        id=str(row.decision),
        agent=row.agent,
        what=f"{version} was rolled back" if row.had_served else f"the canary {version} was withdrawn",
        why=row.reason,
        command=f"clorad why {shlex.quote(version)}",
        page=_page_of_version(version),
        since_s=row.decided_s,
    )


def _unconfirmed(connection: Connection, rules: NoticeRules) -> Iterator[Notice]:
    agents = all_agents(connection)
    loaded = {
        (row.agent, row.number): row.since_s for row in wanted(connection) if row.purpose is Purpose.CANARY
    }
    candidates = [
        candidate
        for candidate in decisions.undecided(connection)
        if (candidate.agent, candidate.number) in loaded and agents[candidate.agent].confirm
    ]
    coming = admissions(connection, candidates, rules.canary)
    for candidate in candidates:
        since_s = loaded[candidate.agent, candidate.number]
        waits_for = coming[candidate.agent].waits_for
        if waits_for is None or not waits_for.startswith("a person"):
            continue
        version = f"{candidate.agent}@{candidate.name}"
        yield Notice(
            kind=NoticeKind.CONFIRM,
            id=version,
            agent=candidate.agent,
            what=f"{version} passed the gate and waits for a person",
            why="this agent has confirm = true: a person lets its versions serve",
            command=f"clorad promote {shlex.quote(version)}",
            page=_page_of_version(version),
            since_s=since_s,
        )


def _contested(connection: Connection) -> Iterator[Notice]:
    for prompt in needs.contested_prompts(connection):
        agent = short(prompt.agent, _UID_CHARS_MAX)
        settle = f"clorad contested settle {shlex.quote(prompt.uid)} --reason '…'"
        is_usable = short(prompt.uid, _UID_CHARS_MAX) == prompt.uid
        yield Notice(
            kind=NoticeKind.CONTESTED,
            id=str(prompt.seq),
            agent=prompt.agent,
            what=f"{count(prompt.number, 'event')} of {agent} about one prompt cannot be used: contested",
            why=prompt.reason,
            command=settle if is_usable else f"clorad contested list --agent {shlex.quote(prompt.agent)}",
            page="/review?" + urlencode({"only": "contested", "agent": prompt.agent}),
            since_s=prompt.received_s,
        )


def _abstained(connection: Connection, rules: NoticeRules) -> Iterator[Notice]:
    for run in needs.abstentions(connection, at_least=rules.abstentions):
        version = f"{run.agent}@{run.version}"
        yield Notice(
            kind=NoticeKind.ABSTAINED,
            id=str(run.first),
            agent=run.agent,
            what=f"the gate could not judge {count(run.number, 'version')} of {run.agent} in a row",
            why=run.reason,
            command=f"clorad why {shlex.quote(version)}",
            page=_page_of_version(version),
            since_s=run.decided_s,
        )


def _too_many_letters(connection: Connection, rules: NoticeRules) -> Iterator[Notice]:
    waiting = dead_letters.unsent_count(connection)
    if waiting <= rules.dead_letters:
        return
    last = dead_letters.newest(connection, limit=1, unsent=True)[0]
    yield Notice(
        kind=NoticeKind.DEAD_LETTERS,
        id=fact(connection, DEAD_LETTERS_SINCE) or str(last.id),
        what=f"{waiting} records could not be used and wait as dead letters",
        why=f"more than {rules.dead_letters}; the last one: {last.reason.value}",
        command="clorad dead-letters list",
        page="/review?only=letters",
        since_s=last.received_s,
    )


def _without_evidence(connection: Connection, rules: NoticeRules) -> Iterator[Notice]:
    now, agents, alone = now_s(connection), all_agents(connection), needs.alone_since(connection)
    waiting = backlogs(connection)
    since = {own.agent: min(now - own.oldest_age_s, alone.get(own.agent, now)) for own in waiting}
    waiting = [own for own in waiting if now - since[own.agent] >= rules.without_evidence_s]
    replies = replies_of(connection, waiting, rules.freshness) if waiting else {}
    for backlog in waiting:
        since_s, captures = since[backlog.agent], agents[backlog.agent].capture
        if why := _lack_of(backlog, replies[backlog.agent], rules.freshness, captures=captures):
            last = backlog.last_try
            yield Notice(
                kind=NoticeKind.NO_EVIDENCE,
                id=f"{backlog.agent} {backlog.champion} {0 if last is None else last.number}",
                agent=backlog.agent,
                what=f"{backlog.agent} has had feedback for {lasting(now - since_s)} that it cannot use",
                why=why,
                command="clorad status",
                page=f"/agents/{quote(backlog.agent, safe='')}",
                since_s=since_s,
            )


def _lack_of(
    backlog: Backlog, replies: StayingReplies, freshness: Freshness, *, captures: bool
) -> str | None:
    """What keeps the agent from learning, in words; None if nothing does."""
    if not backlog.untaught and (alone := backlog.unconfirmed + backlog.gate_unconfirmed):
        return f"{count(alone, 'correction')} of one person each: let somebody else correct alike"
    missing: Mapping[Any, str] = lacks(backlog, replies, freshness, captures=captures)
    return "; ".join(missing.values()) or None


def _page_of_version(version: str) -> str:
    return f"/versions/{quote(version, safe='@')}"
