"""`clorad bridge git`: scans a clone, and sends what people changed in an agent's lines, or kept of them."""

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.commands import broker
from daemon.commands.ledger import reading
from daemon.console import CommandFailed, console, count, show_json, table
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from daemon.signers import sending_key
from feedback.bridges.git.commits import People
from feedback.bridges.git.git_events import GitEvent, events_of
from feedback.bridges.git.repository import GitFailed, Repository
from feedback.bridges.git.scan import Scan, ScannedInteraction, ScanRules
from feedback.bridges.git.webhooks import BranchUpdate, PayloadRefused, branch_update
from feedback.sending.attempts import SendAgain
from feedback.sending.event import FeedbackRefused, build_outgoing_event
from feedback.sending.kafka_sender import KafkaSender
from ledger.events import Interaction
from ledger.learning import event_queries
from rewards.answered_turns import said_by

ACK_S_MAX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgedInteraction:
    """What a scan found about one interaction, and the events that say it."""

    scanned: ScannedInteraction
    agent: str | None
    events: tuple[GitEvent, ...]
    reason: str  # why there is nothing to say, or no more than a number

    def to_json(self, fates: Mapping[str, str]) -> dict[str, Any]:
        """The finding for programs; `fates` by the events' ids."""
        return {
            "interaction": self.scanned.interaction,
            "commit": self.scanned.commit,
            "agent": self.agent,
            "reason": self.reason,
            "events": [
                {
                    "uid": f"{event.source}#{event.id}",
                    "kind": event.kind,
                    "author": event.data["author"],
                    "signed": event.is_signed,
                    "fate": fates[event.id],
                }
                for event in self.events
            ],
        }


def scan(
    settings: Settings,
    path: Path,
    *,
    branch: str | None,
    agent: str | None,
    payload: Path | None,
    fetch: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send what the branch says about the interactions that its commits name, and print it.

    `payload` is a file with a webhook's payload. Raises `CommandFailed`.
    """
    update = None if payload is None else _read_update(payload)
    if payload is not None and update is None:
        console().print("the webhook tells of no new commits on a branch")
        return
    bridged = find(
        settings,
        path,
        branch=branch or (update.branch if update else "HEAD"),
        agent=agent,
        merges=update.merges if update else {},
        fetch=fetch,
    )
    events = [event for interaction in bridged for event in interaction.events]
    fates = {event.id: "not sent" for event in events} if dry_run else _send_all(settings, events)
    if as_json:
        show_json([interaction.to_json(fates) for interaction in bridged])
        return
    rows = table("interaction", "commit", "event", "by", "fate")
    for interaction in bridged:
        named = (interaction.scanned.interaction, interaction.scanned.commit[:12])
        for event in interaction.events:
            said = event.data.get("action") or event.kind
            rows.add_row(*named, str(said), str(event.data["author"]), fates[event.id])
        if interaction.reason:
            rows.add_row(*named, "–", "", interaction.reason)
    console().print(rows)
    console().print(f"{count(len(bridged), 'interaction')}, {count(len(events), 'event')}")


def find(
    settings: Settings,
    path: Path,
    *,
    branch: str,
    agent: str | None,
    merges: Mapping[str, str],
    fetch: bool = False,
) -> list[BridgedInteraction]:
    """What the branch says. Raises `CommandFailed`."""
    repository = Repository(path)
    people = People(authors=settings.git.authors, bots=settings.git.bots)
    rules = ScanRules(
        people=people,
        generated=settings.git.generated,
        days=settings.git.days,
        since_days=settings.git.scan_days,
        merges=merges,
    )
    try:
        if fetch:
            repository.fetch()
        scan = Scan(repository, branch, rules, now_s=time.time())
        with reading(settings) as connection:
            captures = event_queries.interactions_named(connection, scan.interactions)
        return [
            _bridged(scan, name, captures.get(name), agent, people)
            for name in scan.interactions
            if agent is None or name not in captures or captures[name].agent == agent
        ]
    except GitFailed as fault:
        raise CommandFailed(f"{path}: {fault}", code=ExitCode.USAGE) from None


def send(events: Iterable[GitEvent], *, signing: KafkaSender, plain: KafkaSender) -> dict[str, str]:
    """Send the events, by `signing` where the settings name the author. Returns what became of each, by id.

    Raises `SendAgain`.
    """
    fates: dict[str, str] = {}
    for event in events:
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


def _send_all(settings: Settings, events: Iterable[GitEvent]) -> dict[str, str]:
    cluster = broker.cluster(settings)
    key = sending_key(settings.feedback)
    with closing(KafkaSender(cluster, key=key)) as signing, closing(KafkaSender(cluster, key=None)) as plain:
        try:
            return send(events, signing=signing, plain=plain)
        except SendAgain as fault:
            reason = f"Kafka at {settings.kafka.bootstrap_servers} did not acknowledge an event"
            advice = "run it again: what was sent counts once"
            raise CommandFailed(f"{reason} ({fault.reason}); {advice}", code=ExitCode.TRY_AGAIN) from None


def _read_update(file: Path) -> BranchUpdate | None:
    """What the webhook in the file tells. Raises `CommandFailed`."""
    try:
        payload = json.loads(file.read_text(encoding="utf-8"))
        return branch_update(payload) if isinstance(payload, dict) else None
    except OSError as fault:
        reason = fault.strerror or type(fault).__name__
    except PayloadRefused as refusal:
        reason = str(refusal)
    except ValueError:
        reason = "not JSON"
    raise CommandFailed(f"--event: {reason}", code=ExitCode.USAGE)


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
