"""`clorad receipt`: shows what became of one event, and what it changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from daemon.commands.ledger import reading
from daemon.console import CommandFailed, console, fields, moment, short, show_json, verdict
from daemon.roles.canaries import canary_options
from daemon.settings import Settings
from ledger.events import KeptEvent, Kind, Role
from ledger.intake import dead_letters
from ledger.learning import event_queries
from ledger.learning.event_decisions import EventDecision
from ledger.learning.retries import NextTry
from ledger.reports.examples import Example
from ledger.reports.receipts import Fate, JudgedPrompt, Receipt, TurnReceipt, receipt
from ledger.reports.upcoming import upcoming_try
from ledger.turn_states import TurnPart
from ledger.versions.decisions import Verdict
from rewards.episode import first_user_text
from rewards.exchange import History
from rewards.replies import reply_text
from rewards.takeovers import flaws_of, operator_turns
from serving.canary.waiting import waiting_candidates

FATES = {
    Fate.LIVE: "live: the version that serves was taught it",
    Fate.JUDGING: "taught to a candidate that is being judged",
    Fate.LEARNING: "being trained on right now",
    Fate.QUEUED: "waiting to be trained on",
    Fate.WAITING: "waiting for the interaction it names, or for its conversation to be complete",
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
    None: "not known before its interaction arrives",
}


def show_receipt(settings: Settings, uid: str, *, as_json: bool) -> None:
    """Print what became of the event `SOURCE#ID`, or of all events with that bare id."""
    with reading(settings) as connection:
        events = event_queries.event_by_uid(connection, uid)
        receipts = [receipt(connection, kept) for kept in events]
        named = event_queries.interactions_named(
            connection, [kept.event.interaction or "" for kept in events]
        )
        history = History(interactions=named, conversations={})
        letters = [] if receipts else dead_letters.letters_named(connection, uid)
        waits = waiting_candidates(connection, canary_options(settings))
        upcoming = {
            agent: upcoming_try(connection, agent, refusals_max=settings.learning.refusals_max)
            for agent in {event_receipt.kept.event.agent for event_receipt in receipts}
        }
    if not receipts and not letters:
        raise CommandFailed(
            f"nothing called {short(uid, 80)} arrived: neither as an event nor as a dead letter"
        )
    if as_json:
        show_json(
            {
                "receipts": [
                    {
                        **event_receipt.to_json(),
                        "prompt": _prompt_text(event_receipt.kept, history),
                        "left_out": list(_left_out(event_receipt.kept, history)),
                        "next": _next_text(event_receipt, upcoming),
                    }
                    for event_receipt in receipts
                ],
                "dead_letters": [dead_letters.to_json(letter) for letter in letters],
            }
        )
        return
    out = console()
    for event_receipt in receipts:
        waits_for = waits.get(event_receipt.kept.event.agent)
        about = [("prompt", _prompt_text(event_receipt.kept, history))]
        about.append(("left out", "; ".join(_left_out(event_receipt.kept, history)) or None))
        _render_receipt(event_receipt, waits_for, about, out)
        if follows := _next_text(event_receipt, upcoming):
            out.print(f"next: {follows}")
    for letter in letters:
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


def _prompt_text(kept: KeptEvent, history: History) -> str | None:
    """How the prompt that is taught is known; None where nothing is taught of the event."""
    if kept.event.kind is Kind.RETRACTION or kept.forgotten is not None:
        return None
    return history.prompt_of(kept.event)


def _left_out(kept: KeptEvent, history: History) -> tuple[str, ...]:
    """The operator's turns of a takeover that cannot be taught, and why."""
    exchange = history.about(kept.event)
    return flaws_of(operator_turns(kept.event, exchange.messages, exchange.request))


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


def _next_text(event_receipt: Receipt, upcoming: Mapping[str, NextTry]) -> str | None:
    """What comes next for an event whose last candidate was refused; None for every other event."""
    taught_in = [turn for turn in event_receipt.turns if turn.part is TurnPart.NEW]
    was_refused = bool(taught_in) and taught_in[-1].verdict is Verdict.REFUSE
    if event_receipt.fate is not Fate.QUEUED or not was_refused:
        return None
    return upcoming[event_receipt.kept.event.agent].text


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
