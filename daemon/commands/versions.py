"""`clorad versions`, `why` and `rollback`: show versions and where one comes from, and go back to one."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

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
from daemon.exit_codes import ExitCode
from daemon.roles.canaries import canary_options
from daemon.settings import Settings
from engine.manifest import DamagedManifest, Manifest, NewerManifest, read_manifest
from engine.measurements import End, RateTry, TrainingMetrics
from ledger.database import Connection
from ledger.errors import FlipRefused
from ledger.learning import event_queries
from ledger.learning.agents import all_agents
from ledger.reports.examples import Example
from ledger.reports.provenance import Provenance, provenance
from ledger.reports.upcoming import what_follows
from ledger.reports.version_list import VersionSummary, version_list
from ledger.versions import lineage, promotion
from ledger.versions.decisions import BY_CANARY, BY_GATE, BY_OUTCOMES, SETTLED, Decision, last_verdict
from ledger.versions.lineage import BASE, Version
from rewards.episode import first_user_text
from serving.canary.waiting import waiting_candidates

TAUGHT_SHOWN_MAX = 12
EXAMPLES_SHOWN_MAX = 4

_REFERENCE = re.compile(r"(?P<agent>[^@]+)@v?(?P<number>[0-9]{1,9})(?:-(?P<hash>[0-9a-f]{1,64}))?")


def show_versions(settings: Settings, agent: str, *, as_json: bool) -> None:
    """Print the agent's versions, newest first."""
    with reading(settings) as connection:
        _require_agent(connection, agent)
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
    agent, number, content_hash = parse_reference(reference)
    with reading(settings) as connection:
        _require_agent(connection, agent)
        if number == BASE:
            raise CommandFailed(f"{agent}@v0 is the base model: nobody taught it")
        origin = provenance(connection, agent, number)
        prompts = {} if origin is None else _prompts(connection, _shown_examples(origin))
        waits = waiting_candidates(connection, canary_options(settings))
        refusals_max = settings.learning.refusals_max
        follows = what_follows(connection, agent, number, refusals_max=refusals_max)
    if origin is None:
        raise CommandFailed(f"{agent} has no version {number}")
    if content_hash is not None and not origin.version.hash.startswith(content_hash):
        raise CommandFailed(f"{agent}@v{number} is {origin.version.name}, not v{number}-{content_hash}")
    manifest = _manifest(settings, origin.version)
    training = None if manifest is None else manifest.metrics
    tries = () if manifest is None else manifest.tries
    if as_json:
        measured = None if training is None else training.to_json()
        tried = [rate_try.to_json() for rate_try in tries]
        show_json({**origin.to_json(), "training": measured, "tries": tried, "next": follows})
    else:
        _render_why(origin, training_line(training), tries_line(tries), prompts, follows, console())
        last = last_verdict(origin.decisions)
        if agent in waits and (last is None or last.verdict not in SETTLED):
            console().print(f"waits for {waits[agent]}")


def roll_back(settings: Settings, agent: str, *, to: int | None, by: str, reason: str) -> dict[str, Any]:
    """Make an earlier version serve again. Returns the names of both versions, and who decided."""
    with opened(settings) as database:
        with database.read() as connection:
            _require_agent(connection, agent)
        try:
            withdrawn, serving = promotion.roll_back(database, agent, to=to, by=by, reason=reason)
        except FlipRefused as refusal:
            raise CommandFailed(f"{agent}: {refusal}") from None
        with database.read() as connection:
            versions = lineage.versions_of(connection, agent)
    names = {version.number: version.name for version in versions} | {BASE: "v0"}
    return {"agent": agent, "from": names[withdrawn], "to": names[serving], "by": by}


def parse_reference(reference: str) -> tuple[str, int, str | None]:
    """Agent, number and hash (if given) of `billing@v7` or `billing@v7-3fa2c1`."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise CommandFailed(
            "a version is named AGENT@vN or AGENT@vN-HASH, as in billing@v7", code=ExitCode.USAGE
        )
    return match["agent"], int(match["number"]), match["hash"]


def _require_agent(connection: Connection, agent: str) -> None:
    """Raises `CommandFailed` if there is no such agent."""
    agents = all_agents(connection)
    if agent not in agents:
        raise CommandFailed(f"no agent {short(agent, 60)}; there are: {joined(sorted(agents), 'none')}")


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


def _manifest(settings: Settings, version: Version) -> Manifest | None:
    """The version's manifest; None if it cannot be read here."""
    try:
        return read_manifest(settings.store.path / version.path)
    except (OSError, DamagedManifest, NewerManifest):
        return None


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


def _render_why(
    origin: Provenance,
    training: str,
    tries: str,
    prompts: Mapping[str, str],
    follows: str | None,
    out: Console,
) -> None:
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
    if follows is not None:
        out.print(f"next: {follows}")
    _render_examples(_shown_examples(origin), prompts, out)
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


def _prompts(connection: Connection, examples: list[Example]) -> dict[str, str]:
    """The text of the examples' prompts, by event."""
    kept = {example.uid: event_queries.event_by_uid(connection, example.uid) for example in examples}
    return {
        uid: first_user_text(events[0].event.data.get("messages") or ())
        for uid, events in kept.items()
        if events
    }


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
