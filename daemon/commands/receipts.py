"""`clorad receipt`: what became of one event."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from daemon.commands.ledger import reading
from daemon.console import (
    CommandFailed,
    console,
    fields,
    moment,
    short,
    show_json,
    verdict,
)
from daemon.settings import Settings
from ledger.events import KeptEvent, Kind, Role
from ledger.intake import dead_letters
from ledger.learning import event_queries
from ledger.reports.receipts import Example, Fate, Judged, Receipt, TurnReceipt, receipt
from rewards.episode import first_user_text

FATES = {
    Fate.LIVE: "live: the version that serves was taught it",
    Fate.JUDGING: "taught to a candidate that is being judged",
    Fate.LEARNING: "being trained on right now",
    Fate.QUEUED: "waiting to be trained on",
    Fate.WAITING: "waiting for the interaction it names, or for its conversation to be complete",
    Fate.EVIDENCE: "kept for judging, never trained on",
    Fate.STANDBY: "shown in turns as what should not change",
    Fate.OUT: "not used",
    Fate.DONE: "applied",
}

ROLES = {
    Role.TRAIN: "train: it may be learned from",
    Role.DEV: "dev: watched while training, never learned from",
    Role.GATE: "gate: candidates are judged on it, so it is never learned from",
    None: "not known before its interaction arrives",
}


def show_receipt(settings: Settings, uid: str, *, as_json: bool) -> None:
    """Print what became of the event `SOURCE#ID` (or of all with that id)."""
    with reading(settings) as connection:
        found = [receipt(connection, kept) for kept in event_queries.event_by_uid(connection, uid)]
        letters = [] if found else dead_letters.naming(connection, uid)
    if not found and not letters:
        raise CommandFailed(
            f"nothing called {short(uid, 80)} arrived: neither as an event nor as a dead letter"
        )
    if as_json:
        show_json(
            {
                "receipts": [_receipt_json(one) for one in found],
                "dead_letters": [dead_letters.to_json(letter) for letter in letters],
            }
        )
        return
    out = console()
    for one in found:
        _render_receipt(one, out)
    for letter in letters:
        out.print(
            f"dead letter {letter.id}: {letter.reason.value} ({letter.detail}), {moment(letter.received_s)}"
        )


def gist(kept: KeptEvent) -> str:
    """What an event says, in one line."""
    event = kept.event
    if kept.forgotten is not None and event.kind is not Kind.RETRACTION:
        return f"forgotten (erasure {kept.forgotten})"
    data: Mapping[str, Any] = event.data
    prompt = short(first_user_text(data.get("messages") or ()), 40)
    said = data.get("rejected") or data.get("said")
    better = data.get("corrected")
    if event.kind is Kind.OUTCOME:
        return f"{prompt} {data.get('value')}".strip()
    if event.kind is Kind.RETRACTION:
        return short("{source}#{id}".format(**data["target"]), 60)
    parts = [prompt, "" if said is None else f"“{short(said, 40)}”"]
    if better is not None:
        parts.append(f"→ “{short(better, 40)}”")
    return " ".join(part for part in parts if part)


def _render_receipt(one: Receipt, out: Console) -> None:
    kept, event = one.kept, one.kept.event
    fate = Text(FATES[one.fate], style="green" if one.fate is Fate.LIVE else "")
    if one.fate is Fate.OUT:
        fate = Text(f"not used: {kept.status.value}{f' ({one.status_reason})' if one.status_reason else ''}")
    if one.live_since_s is not None:
        fate.append(f", since {moment(one.live_since_s)}")
    out.print(Text(short(event.uid, 120), style="bold"))
    out.print(
        fields(
            [
                ("became", fate),
                ("says", f"{event.kind.value} for {event.agent} by {short(event.author, 60)}: {gist(kept)}"),
                ("stored", f"{moment(kept.received_s)}, {kept.topic}[{kept.partition}] offset {kept.offset}"),
                ("role", ROLES[event.role]),
            ]
        )
    )
    for taken in one.taken:
        out.print(_taken_line(taken))
    for judged in one.judged:
        _render_judged(judged, out)
    for example in one.examples:
        _render_example(example, out)


def _taken_line(taken: TurnReceipt) -> Text:
    told = Text(f"turn {taken.turn_id}", style="bold").append(
        f" in pass {taken.pass_id} as {taken.part}", "default"
    )
    if taken.outcome is not None:
        told.append(f": {taken.outcome}", "default")
    if taken.version is None:
        return told.append(f" — {taken.state}{f', {taken.reason}' if taken.reason else ''}", "default")
    told.append(f" → {taken.version} ", "default")
    told.append(verdict("undecided" if taken.verdict is None else taken.verdict.value))
    why = f": {'; '.join(taken.reasons)}" if taken.reasons else ""
    return told.append(f" {moment(taken.decided_s) if taken.decided_s else ''}{why}", "default")


def _render_judged(judged: Judged, out: Console) -> None:
    what = "no-harm suite" if judged.suite else "evidence"
    told = Text(f"judged {judged.version}", style="bold").append(f" ({what}) ", "default")
    told.append(verdict(judged.verdict.value))
    out.print(told.append(f": score {judged.before:.2f} → {judged.after:.2f}", "default"))
    if judged.before_text is not None:
        out.print(f"  before: {short(judged.before_text)}")
        out.print(f"  after:  {short(judged.after_text or '')}")


def _render_example(example: Example, out: Console) -> None:
    if example.before_text is None:
        return
    out.print(Text(f"changed with it: {short(example.uid, 60)}", style="bold"))
    out.print(f"  before: {short(example.before_text)}")
    out.print(f"  after:  {short(example.after_text or '')}")


def _receipt_json(one: Receipt) -> dict[str, Any]:
    kept, event = one.kept, one.kept.event
    return {
        "uid": event.uid,
        "fate": one.fate.value,
        "status": kept.status.value,
        "status_reason": one.status_reason,
        "kind": event.kind.value,
        "agent": event.agent,
        "author": event.author,
        "role": None if event.role is None else event.role.value,
        "revision": event.revision,
        "forgotten": kept.forgotten,
        "stored": {
            "topic": kept.topic,
            "partition": kept.partition,
            "offset": kept.offset,
            "received_s": kept.received_s,
        },
        "live_since_s": one.live_since_s,
        "turns": [
            {
                "turn": taken.turn_id,
                "pass": taken.pass_id,
                "part": taken.part,
                "outcome": taken.outcome,
                "state": taken.state,
                "reason": taken.reason,
                "version": taken.version,
                "verdict": None if taken.verdict is None else taken.verdict.value,
                "decided_s": taken.decided_s,
                "reasons": list(taken.reasons),
                "serving": taken.serving,
            }
            for taken in one.taken
        ],
        "judged": [
            {
                "version": judged.version,
                "verdict": judged.verdict.value,
                "decided_s": judged.decided_s,
                "suite": judged.suite,
                "score_before": judged.before,
                "score_after": judged.after,
                "before": judged.before_text,
                "after": judged.after_text,
            }
            for judged in one.judged
        ],
        "changed": [
            {
                "event": example.uid,
                "score_before": example.before,
                "score_after": example.after,
                "before": example.before_text,
                "after": example.after_text,
            }
            for example in one.examples
        ],
    }
