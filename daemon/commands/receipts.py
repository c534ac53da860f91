"""`clorad receipt`: shows what became of one event, and what it changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from daemon.commands.documents.receipt_document import read_receipts
from daemon.commands.ledger import opened
from daemon.console import console, fields, moment, short, show_json, verdict
from daemon.settings import Settings
from ledger.events import KeptEvent, Kind, Role
from ledger.learning.event_decisions import EventDecision
from ledger.reports.examples import Example
from ledger.reports.receipts import Fate, JudgedPrompt, Receipt, TurnReceipt
from rewards.episode import first_user_text
from rewards.replies import reply_text

FATES = {
    Fate.LIVE: "live: the version that serves was taught it",
    Fate.JUDGING: "taught to a candidate that is being judged",
    Fate.LEARNING: "being trained on right now",
    Fate.QUEUED: "waiting to be trained on",
    Fate.WAITING: "waiting for the interaction or the conversation that it names",
    Fate.EVIDENCE: "kept for judging, never trained on",
    Fate.STANDBY: "shown in turns as what should not change",
    Fate.OUT: "not used",
    Fate.NOT_YOURS: "without effect: it acts on another author's or agent's event",
    Fate.DONE: "applied",
}

ROLES = {
    Role.TRAIN: "train: it may be learned from",
    Role.DEV: "dev: watched while training, never learned from",
    Role.GATE: "gate: candidates are judged on it, so it is never learned from",
    None: "not known before what it is about arrives",
}


def show_receipt(settings: Settings, uid: str, *, as_json: bool) -> None:
    """Print what became of the event `SOURCE#ID`, or of all events with that bare id."""
    with opened(settings) as database:
        document = read_receipts(settings, database, uid)
    if as_json:
        show_json(document.to_json())
        return
    out = console()
    for event_receipt in document.receipts:
        kept = event_receipt.kept
        about = [("prompt", document.prompt_text(kept))]
        about.append(("left out", "; ".join(document.left_out(kept)) or None))
        _render_receipt(event_receipt, document.waits.get(kept.event.agent), about, out)
        if follows := document.next_text(event_receipt):
            out.print(f"next: {follows}")
    for letter in document.letters:
        out.print(
            f"dead letter {letter.id}: {letter.reason.value} ({letter.detail}), {moment(letter.received_s)}"
        )


def gist(kept: KeptEvent) -> str:
    """The contents of an event, in one line."""
    event = kept.event
    if kept.forgotten is not None and event.kind is not Kind.RETRACTION:
        return f"forgotten (erasure {kept.forgotten})"
    data: Mapping[str, Any] = event.data
    prompt = short(first_user_text(data.get("messages") or ()), 40)
    answer = data.get("rejected") or data.get("said")
    corrected = data.get("corrected")
    if event.kind is Kind.OUTCOME:
        return f"{prompt} {data.get('value')}".strip()
    if event.kind is Kind.RETRACTION:
        return short("{source}#{id}".format(**data["target"]), 60)
    parts = [prompt, "" if answer is None else f"“{short(reply_text(answer), 40)}”"]
    if corrected is not None:
        parts.append(f"→ “{short(reply_text(corrected), 40)}”")
    return " ".join(part for part in parts if part)


def _render_receipt(
    event_receipt: Receipt,
    candidate_waits: str | None,
    about: Sequence[tuple[str, str | None]],
    out: Console,
) -> None:
    kept, event = event_receipt.kept, event_receipt.kept.event
    out.print(Text(short(event.uid, 120), style="bold"))
    out.print(
        fields(
            [
                ("became", _fate_line(event_receipt, candidate_waits)),
                ("says", f"{event.kind.value} for {event.agent} by {short(event.author, 60)}: {gist(kept)}"),
                ("stored", f"{moment(kept.received_s)}, {kept.topic}[{kept.partition}] offset {kept.offset}"),
                ("role", ROLES[event.role]),
                *((name, text) for name, text in about if text is not None),
            ]
        )
    )
    for decision in event_receipt.decided:
        out.print(_decision_line(decision))
    for turn in event_receipt.turns:
        out.print(_turn_line(turn))
    for judged in event_receipt.judged:
        _render_judged(judged, out)
    for example in event_receipt.examples:
        if example.before_text is not None:
            out.print(Text(f"changed with it: {short(example.uid, 60)}", style="bold"))
            _render_answers(example, out)


def _fate_line(event_receipt: Receipt, candidate_waits: str | None) -> Text:
    if event_receipt.fate is Fate.JUDGING and candidate_waits is not None:
        return Text(f"taught to a candidate that passed the gate and waits for {candidate_waits}")
    reason = event_receipt.status_reason
    if event_receipt.fate is Fate.OUT:
        line = Text(f"not used: {event_receipt.kept.status.value}{f' ({reason})' if reason else ''}")
    else:
        live = event_receipt.fate is Fate.LIVE
        line = Text(FATES[event_receipt.fate], style="green" if live else "")
    if event_receipt.live_since_s is not None:
        line.append(f", since {moment(event_receipt.live_since_s)}")
    return line


def _decision_line(decision: EventDecision) -> Text:
    line = Text(f"decision {decision.id}", style="bold")
    line.append(f": {decision.verdict} of {short(decision.event, 60)} by {decision.by}, ", "default")
    line.append(f"{moment(decision.decided_s)}: {decision.reason}", "default")
    undone = "" if decision.undone_by is None else f" (undone by decision {decision.undone_by})"
    return line.append(undone, "default")


def _turn_line(turn: TurnReceipt) -> Text:
    line = Text(f"turn {turn.turn_id}", style="bold").append(
        f" in pass {turn.pass_id} as {turn.part}", "default"
    )
    if turn.result is not None:
        line.append(f": {turn.result.text}", "default")
    if turn.version is None:
        return line.append(f" — {turn.state}{f', {turn.reason}' if turn.reason else ''}", "default")
    line.append(f" → {turn.version} ", "default")
    line.append(verdict("undecided" if turn.verdict is None else turn.verdict.value))
    reasons = f": {'; '.join(turn.reasons)}" if turn.reasons else ""
    return line.append(f" {moment(turn.decided_s) if turn.decided_s else ''}{reasons}", "default")


def _render_judged(judged: JudgedPrompt, out: Console) -> None:
    example = judged.example
    part = "no-harm suite" if example.suite else "evidence"
    line = Text(f"judged {judged.version}", style="bold").append(f" ({part}) ", "default")
    line.append(verdict(judged.verdict.value))
    by = f" by {example.by}" if example.by else ""
    said = f", the judge preferred {' and '.join(example.verdicts)}" if example.verdicts else ""
    sampled = "" if example.agreement is None else f", the champion repeats itself in {example.agreement:.0%}"
    scores = f": score {example.before:.2f} → {example.after:.2f}{by}{said}{sampled}"
    out.print(
        line.append(scores if example.unscored is None else f": no score: {example.unscored}", "default")
    )
    if example.before_text is not None:
        _render_answers(example, out)


def _render_answers(example: Example, out: Console) -> None:
    out.print(f"  before: {short(example.before_text or '')}")
    out.print(f"  after:  {short(example.after_text or '')}")
