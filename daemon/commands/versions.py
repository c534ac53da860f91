"""`clorad versions`, `why` and `rollback`: show versions and where one comes from, and go back to one."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from daemon.commands.documents.version_document import VersionDocument, read_version, require_agent
from daemon.commands.ledger import opened, reading
from daemon.commands.receipts import gist
from daemon.console import (
    CommandFailed,
    ago,
    console,
    count,
    fields,
    joined,
    judgement,
    live_test,
    moment,
    short,
    show_json,
    table,
    verdict,
)
from daemon.settings import Settings
from engine.measurements import End, RateTry, TrainingMetrics
from ledger.errors import FlipRefused
from ledger.reports.examples import Example
from ledger.reports.provenance import Provenance
from ledger.reports.version_list import VersionSummary, version_list
from ledger.versions import lineage, promotion
from ledger.versions.decisions import BY_CANARY, BY_GATE, BY_OUTCOMES, SETTLED, Decision, last_verdict
from ledger.versions.lineage import BASE

TAUGHT_SHOWN_MAX = 12
EXAMPLES_SHOWN_MAX = 4


def show_versions(settings: Settings, agent: str, *, as_json: bool) -> None:
    """Print the agent's versions, newest first."""
    with reading(settings) as connection:
        require_agent(connection, agent)
        summaries = version_list(connection, agent)
    if as_json:
        show_json([summary.to_json() for summary in summaries])
    elif not summaries:
        console().print(f"{agent} serves v0, the base: no version of it was made yet")
    else:
        rows = table("VERSION", "PARENT", "VERDICT", "BY", ">EVENTS", ">PEOPLE", "EVIDENCE", "WHEN")
        for summary in summaries:
            rows.add_row(*_summary_cells(summary))
        console().print(rows)


def show_why(settings: Settings, reference: str, *, as_json: bool) -> None:
    """Print where a version comes from: events, people, verdicts, and how to undo it."""
    with opened(settings) as database:
        document = read_version(settings, database, reference)
    if as_json:
        show_json(document.to_json())
        return
    _render_why(document, console())
    last = last_verdict(document.origin.decisions)
    if document.waits_for is not None and (last is None or last.verdict not in SETTLED):
        console().print(f"waits for {document.waits_for}")


def roll_back(
    settings: Settings,
    agent: str,
    *,
    to: int | None,
    by: str,
    reason: str,
    champion_is: int | None = None,
) -> dict[str, Any]:
    """Make an earlier version serve again. Returns the names of both versions, and who decided.

    Raises `CommandFailed`, also where the champion is not `champion_is`, if that is given.
    """
    with opened(settings) as database:
        with database.read() as connection:
            require_agent(connection, agent)
        try:
            withdrawn, serving = promotion.roll_back(
                database, agent, to=to, by=by, reason=reason, champion_is=champion_is
            )
        except FlipRefused as refusal:
            raise CommandFailed(f"{agent}: {refusal}") from None
        with database.read() as connection:
            versions = lineage.versions_of(connection, agent)
    names = {version.number: version.name for version in versions} | {BASE: "v0"}
    return {"agent": agent, "from": names[withdrawn], "to": names[serving], "by": by}


def _summary_cells(summary: VersionSummary) -> tuple[str | Text, ...]:
    version = summary.version
    return (
        Text(version.name, style="bold green" if summary.serving else "" if summary.in_lineage else "dim"),
        summary.parent_name,
        "undecided" if summary.verdict is None else verdict(summary.verdict.value),
        summary.by or "–",
        str(summary.events),
        str(summary.authors),
        short("; ".join(summary.reasons) or judgement(summary.judgement), 70),
        ago(summary.decided_s or version.made_s) + ("" if version.pruned_s is None else ", files pruned"),
    )


def training_line(training: TrainingMetrics | None) -> str:
    """The length of the turn, and why it ended."""
    if training is None:
        return "its manifest cannot be read here"
    line = count(training.steps, "step")
    if training.learning_rate is not None:
        line += f" at a learning rate of {training.learning_rate:.2g}"
    if training.ended is not None:
        line += f", {_ENDED[training.ended]}"
    if training.learned_share is not None:
        line += f"; {training.learned_share:.0%} of its corrections are learned"
    if training.kept_share is not None:
        line += f", {training.kept_share:.1%} of its anchors' tokens kept"
    return line


def tries_line(tries: Sequence[RateTry]) -> str:
    """The learning rates that were tried, with their losses, and which was chosen; empty if there was one."""
    return "; ".join(
        f"{tried.learning_rate:.2g}: loss {tried.loss_nats:.3f} nats after {count(tried.steps, 'step')}"
        + (", chosen" if tried.is_chosen else "")
        for tried in tries
    )


_ENDED = {
    End.LEARNED: "until its corrections were learned",
    End.STEPS: "as many as its recipe allows",
    End.DEV: "until its dev events were answered worse",
}


def _render_why(document: VersionDocument, out: Console) -> None:
    origin, manifest = document.origin, document.manifest
    training = training_line(None if manifest is None else manifest.metrics)
    tries = tries_line(() if manifest is None else manifest.tries)
    version = origin.version
    if origin.champion == version.number:
        standing = Text("serving", style="green")
    elif origin.serving:
        standing = Text(f"in the ancestry of v{origin.champion}, which serves", style="green")
    else:
        standing = Text("not serving", style="yellow")
    shown = joined([f"{number} {part}" for part, number in origin.shown.items()], "")
    beside = f" beside {shown}" if shown else ""
    out.print(Text(f"{version.agent}@{version.name}", style="bold"))
    out.print(
        fields(
            [
                ("standing", standing),
                ("made", f"{moment(version.made_s)} from {origin.parent_name}, in pass {origin.pass_id}"),
                ("files", version.path if version.pruned_s is None else f"pruned {moment(version.pruned_s)}"),
                *([] if origin.adopted is None else [("adopted from", origin.adopted)]),
                *([] if origin.retry is None else [("try", origin.retry.text)]),
                ("training", training),
                *([("rates tried", tries)] if tries else []),
                ("taught", f"{count(len(origin.taught), 'event')}{beside}"),
                ("people", joined([f"{name} ({number})" for name, number in origin.authors.items()])),
                ("ancestry", " ← ".join((version.name, *origin.ancestors))),
            ]
        )
    )
    for decision in origin.decisions:
        _render_decision(decision, out)
    if document.follows is not None:
        out.print(f"next: {document.follows}")
    _render_examples(_shown_examples(origin), document.prompts, out)
    _render_taught(origin, out)
    out.print()
    if origin.undo is None:
        out.print("to undo: nothing, it serves nobody")
    else:
        with_it = joined(origin.withdrawn_with_it, "")
        out.print(f"to undo: {origin.undo}{f' (also withdraws {with_it})' if with_it else ''}")


def _render_decision(decision: Decision, out: Console) -> None:
    by = {BY_GATE: "the gate", BY_CANARY: "its canary", BY_OUTCOMES: "its outcomes"}.get(
        decision.by, decision.by
    )
    line = Text("decided ", style="bold").append(verdict(decision.verdict.value))
    out.print(line.append(f" by {by}, {moment(decision.decided_s)}", style="default"))
    evidence = decision.evidence
    for detail in ("; ".join(evidence.reasons), judgement(evidence.judgement), live_test(evidence)):
        if detail:
            out.print(f"  {detail}")


def _render_examples(examples: list[Example], prompts: Mapping[str, str], out: Console) -> None:
    if not examples:
        return
    rows = table("PROMPT NEVER TRAINED ON", "BEFORE", "AFTER", ">SCORE")
    for example in examples:
        rows.add_row(
            short(prompts.get(example.uid) or example.uid, 44),
            short(example.before_text or "", 44),
            short(example.after_text or "", 44),
            f"{example.before:.2f} → {example.after:.2f}",
        )
    out.print()
    out.print(rows)


def _shown_examples(origin: Provenance) -> list[Example]:
    """Prompts of gate events whose answers are stored, most improved first."""
    with_texts = [
        example for example in origin.examples if example.before_text is not None and not example.suite
    ]
    return with_texts[:EXAMPLES_SHOWN_MAX]


def _render_taught(origin: Provenance, out: Console) -> None:
    rows = table("TAUGHT", "KIND", "BY", "WHAT", "OUTCOME")
    for taught in origin.taught[:TAUGHT_SHOWN_MAX]:
        event = taught.kept.event
        rows.add_row(
            short(event.uid, 40),
            event.kind.value,
            short(event.author, 20),
            gist(taught.kept),
            "–" if taught.result is None else taught.result.text,
        )
    out.print()
    out.print(rows)
    if len(origin.taught) > TAUGHT_SHOWN_MAX:
        out.print(f"… and {len(origin.taught) - TAUGHT_SHOWN_MAX} more (--json lists all)")
    for erasure in origin.erasures:
        out.print(
            f"erasure {erasure.id}, {moment(erasure.begun_s)} by {erasure.by}: some of what it was shown was"
            " forgotten since; what it learned from it is in its weights"
        )
