"""`clorad bridge git`: scans a clone, and sends what people changed in an agent's lines, or kept of them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from daemon.commands import broker
from daemon.commands.ledger import reading
from daemon.console import CommandFailed, console, count, show_json, table
from daemon.exit_codes import ExitCode
from daemon.roles.git_scans import BridgedInteraction, find, send
from daemon.settings import Settings
from daemon.signers import sending_key, why_not_believed
from feedback.bridges.git.git_events import GitEvent
from feedback.bridges.git.repository import GitFailed
from feedback.bridges.git.webhooks import BranchUpdate, PayloadRefused, branch_update
from feedback.sending.attempts import SendAgain
from feedback.sending.kafka_sender import KafkaSender
from ledger.events import Interaction
from ledger.learning import event_queries


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
    try:
        bridged = find(
            settings.git,
            partial(_captured, settings),
            path,
            branch=branch or (update.branch if update else "HEAD"),
            agent=agent,
            merges=update.merges if update else {},
            fetch=fetch,
        )
    except GitFailed as fault:
        raise CommandFailed(f"{path}: {fault}", code=ExitCode.USAGE) from None
    events = [event for interaction in bridged for event in interaction.events]
    fates = {event.id: "not sent" for event in events} if dry_run else _send_all(settings, events)
    if as_json:
        show_json([_document(interaction, fates) for interaction in bridged])
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


def _send_all(settings: Settings, events: Iterable[GitEvent]) -> dict[str, str]:
    cluster = broker.cluster(settings)
    key = sending_key(settings.feedback)
    with closing(KafkaSender(cluster, key=key)) as signing, closing(KafkaSender(cluster, key=None)) as plain:
        try:
            return send(
                events,
                signing=signing,
                plain=plain,
                why_not_believed=partial(why_not_believed, settings.feedback),
            )
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


def _captured(settings: Settings, ids: Sequence[str]) -> Mapping[str, Interaction]:
    with reading(settings) as connection:
        return event_queries.interactions_named(connection, ids)


def _document(bridged: BridgedInteraction, fates: Mapping[str, str]) -> dict[str, Any]:
    """What was found about one interaction, for programs; `fates` by the events' ids."""
    return {
        "interaction": bridged.scanned.interaction,
        "commit": bridged.scanned.commit,
        "agent": bridged.agent,
        "reason": bridged.reason,
        "events": [
            {
                "uid": f"{event.source}#{event.id}",
                "kind": event.kind,
                "author": event.data["author"],
                "signed": event.is_signed,
                "fate": fates[event.id],
            }
            for event in bridged.events
        ],
    }
