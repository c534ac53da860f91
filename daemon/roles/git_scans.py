"""Scans branches for what people did with an agent's lines, and sends it: by command, or as webhooks ask."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from daemon.setting_groups.git import GitSettings
from feedback.bridges.git.commits import People
from feedback.bridges.git.git_events import GitEvent, events_of
from feedback.bridges.git.repository import GitFailed, Repository
from feedback.bridges.git.scan import Scan, ScannedInteraction, ScanRules
from feedback.bridges.git.webhooks import BranchUpdate
from feedback.sending.attempts import SendAgain
from feedback.sending.event import FeedbackRefused, build_outgoing_event
from feedback.sending.kafka_sender import KafkaSender
from ledger.errors import LedgerUnavailable
from ledger.events import Interaction
from rewards.answered_turns import said_by

log = structlog.get_logger(__name__)

ACK_S_MAX = 20.0
RETRY_S = 30.0
MERGES_MAX = 1000
"""Merges that are remembered until a scan has seen them."""

Captures = Callable[[Sequence[str]], Mapping[str, Interaction]]
"""Gives those interactions of these ids that were captured, by id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgedInteraction:
    """What a scan found about one interaction, and the events that say it."""

    scanned: ScannedInteraction
    agent: str | None
    events: tuple[GitEvent, ...]
    reason: str  # why there is nothing to say, or no more than a number


def find(
    settings: GitSettings,
    captures: Captures,
    path: Path,
    *,
    branch: str,
    agent: str | None,
    merges: Mapping[str, str],
    fetch: bool = False,
) -> list[BridgedInteraction]:
    """What the branch says. Raises `GitFailed`."""
    repository = Repository(path)
    people = People(authors=settings.authors, bots=settings.bots)
    rules = ScanRules(
        people=people,
        generated=settings.generated,
        days=settings.days,
        since_days=settings.scan_days,
        merges=merges,
    )
    if fetch:
        repository.fetch()
    scan = Scan(repository, branch, rules, now_s=time.time())
    captured = captures(scan.interactions)
    return [
        _bridged(scan, name, captured.get(name), agent, people)
        for name in scan.interactions
        if agent is None or name not in captured or captured[name].agent == agent
    ]


def send(
    events: Iterable[GitEvent],
    *,
    signing: KafkaSender,
    plain: KafkaSender,
    why_not_believed: Callable[[str], str | None],
) -> dict[str, str]:
    """Send the events, by `signing` where the settings name the author. Returns what became of each, by id.

    `why_not_believed` says of a source why intake would refuse what is signed under it. Raises `SendAgain`.
    """
    fates: dict[str, str] = {}
    for event in events:
        if event.is_signed and (why := why_not_believed(event.source)) is not None:
            fates[event.id] = f"not sent: {why}"
            continue
        sender = signing if event.is_signed else plain
        try:
            outgoing = build_outgoing_event(
                event.kind, event.data, source=event.source, event_id=event.id, at=event.at
            )
            sender.post(outgoing, left_s=ACK_S_MAX)
        except FeedbackRefused as refusal:
            fates[event.id] = f"not sent: {refusal}"
        else:
            fates[event.id] = "sent"
    return fates


class BranchScans:
    """Scans branches one after the other, in a thread, as webhooks ask. A scan that fails is tried again.

    `scan` gets a repository's name in the settings and what its webhooks told. It raises `GitFailed`,
    `SendAgain` or `LedgerUnavailable`.
    """

    def __init__(self, scan: Callable[[str, BranchUpdate], int], *, retry_s: float = RETRY_S) -> None:
        self._scan, self._retry_s = scan, retry_s
        self._asked: dict[str, BranchUpdate] = {}
        self._changed = threading.Condition()

    def ask(self, name: str, update: BranchUpdate) -> None:
        """Have the branch scanned soon; once, where it is asked for several times before."""
        with self._changed:
            before = self._asked.get(name)
            merges = {**(before.merges if before else {}), **update.merges}
            kept = dict(list(merges.items())[-MERGES_MAX:])
            self._asked[name] = BranchUpdate(repository=update.repository, branch=update.branch, merges=kept)
            self._changed.notify()

    def run(self, stopping: threading.Event) -> None:
        """Scan until told to stop."""
        while not stopping.is_set():
            with self._changed:
                if not self._asked:
                    self._changed.wait(timeout=0.2)
                asked, self._asked = self._asked, {}
            for name, update in asked.items():
                self._try(name, update, stopping)

    def _try(self, name: str, update: BranchUpdate, stopping: threading.Event) -> None:
        try:
            events = self._scan(name, update)
        except (GitFailed, SendAgain, LedgerUnavailable) as fault:
            log.warning("branch not scanned", repository=name, fault=type(fault).__name__, why=str(fault))
            self.ask(name, update)
            stopping.wait(self._retry_s)
        else:
            log.info("branch scanned", repository=name, events=events)


def _bridged(
    scan: Scan, name: str, capture: Interaction | None, agent: str | None, people: People
) -> BridgedInteraction:
    whose = capture.agent if capture is not None else agent
    scanned = scan.of(name, said_by(capture) if capture is not None and not capture.forgotten else None)
    reason = scanned.states[-1].verdict.reason if scanned.states else scanned.reason
    if whose is None:
        reason = "the interaction was not captured; --agent says whose it is"
    events = (
        events_of(scanned.states, repository=scan.name, agent=whose, interaction=name, people=people)
        if whose is not None
        else []
    )
    return BridgedInteraction(scanned=scanned, agent=whose, events=tuple(events), reason=reason)
