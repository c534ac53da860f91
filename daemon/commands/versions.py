"""`clorad versions`, `why` and `rollback`: an agent's versions, what made one, and the way back."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text
from sqlalchemy import Connection

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
    moment,
    short,
    show_json,
    table,
    verdict,
)
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from ledger.errors import FlipRefused
from ledger.learning import event_queries
from ledger.learning.agents import all_agents
from ledger.reports import provenance
from ledger.reports.provenance import Line, Provenance
from ledger.reports.receipts import Example
from ledger.versions import lineage, promotion
from ledger.versions.decisions import Decision
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import BASE
from rewards.episode import first_user_text

TAUGHT_SHOWN_MAX = 12
EXAMPLES_SHOWN_MAX = 4

_REFERENCE = re.compile(r"(?P<agent>[^@]+)@v?(?P<number>[0-9]{1,9})(?:-(?P<hash>[0-9a-f]{1,64}))?")


def show_versions(settings: Settings, agent: str, *, as_json: bool) -> None:
    """Print the agent's versions, newest first."""
    with reading(settings) as connection:
        _must_know(connection, agent)
        found = provenance.lines(connection, agent)
    if as_json:
        show_json([_line_json(line) for line in found])
        return
    out = console()
    if not found:
        out.print(f"{agent} serves v0, the base: no version of it was made yet")
        return
    made = table("VERSION", "PARENT", "VERDICT", "BY", ">EVENTS", ">PEOPLE", "EVIDENCE", "WHEN")
    for line in found:
        made.add_row(
            Text(line.version.name, style="bold green" if line.serving else "" if line.in_lineage else "dim"),
            line.parent_name,
            "undecided" if line.verdict is None else verdict(line.verdict.value),
            line.by or "–",
            str(line.events),
            str(line.authors),
            short("; ".join(line.reasons) or judgement(line.judgement), 70),
            ago(line.decided_s or line.version.made_s)
            + ("" if line.version.pruned_s is None else ", files pruned"),
        )
    out.print(made)


def show_why(settings: Settings, reference: str, *, as_json: bool) -> None:
    """Print what made a version: events, people, verdicts, and how to undo it."""
    agent, number, content_hash = parsed(reference)
    with reading(settings) as connection:
        _must_know(connection, agent)
        if number == BASE:
            raise CommandFailed(f"{agent}@v0 is the base model: nobody taught it")
        found = provenance.provenance(connection, agent, number)
        prompts = _prompts(connection, found)
    if found is None:
        raise CommandFailed(f"{agent} has no version {number}")
    if content_hash is not None and not found.version.hash.startswith(content_hash):
        raise CommandFailed(f"{agent}@v{number} is {found.version.name}, not v{number}-{content_hash}")
    if as_json:
        show_json(_why_json(found))
    else:
        _render_why(found, prompts, console())


def roll_back(settings: Settings, agent: str, *, to: int | None, by: str, reason: str) -> dict[str, Any]:
    """An earlier version serves again; what the withdrawn ones were taught is on hold."""
    with opened(settings) as database:
        with database.read() as connection:
            _must_know(connection, agent)
        try:
            old, new = promotion.roll_back(database, agent, to=to, by=by, reason=reason)
        except FlipRefused as refusal:
            raise CommandFailed(f"{agent}: {refusal}") from None
        with database.read() as connection:
            names = {one.number: one.name for one in lineage.versions_of(connection, agent)} | {BASE: "v0"}
    return {"agent": agent, "from": names[old], "to": names[new], "by": by}


def parsed(reference: str) -> tuple[str, int, str | None]:
    """Agent, number and hash (where given) of `billing@v7` or `billing@v7-3fa2c1`."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise CommandFailed(
            "a version is named AGENT@vN or AGENT@vN-HASH, as in billing@v7", code=ExitCode.USAGE
        )
    return match["agent"], int(match["number"]), match["hash"]


def undo(found: Provenance) -> str | None:
    """The exact command that takes the version back; None where it serves nobody."""
    if not found.serving:
        return None
    one = found.version
    return f"clorad rollback {one.agent} --to {one.parent} --reason '…'"


def _must_know(connection: Connection, agent: str) -> None:
    known = all_agents(connection)
    if agent not in known:
        raise CommandFailed(f"no agent {short(agent, 60)}; there are: {joined(sorted(known), 'none')}")


def _render_why(found: Provenance, prompts: Mapping[str, str], out: Console) -> None:
    one = found.version
    if found.champion == one.number:
        standing = Text("serving", style="green")
    elif found.serving:
        standing = Text(f"in the ancestry of v{found.champion}, which serves", style="green")
    else:
        standing = Text("not serving", style="yellow")
    shown = [f"{number} {part}" for part, number in found.shown.items()]
    out.print(Text(f"{one.agent}@{one.name}", style="bold"))
    out.print(
        fields(
            [
                ("standing", standing),
                ("made", f"{moment(one.made_s)} from {found.parent_name}, in pass {found.pass_id}"),
                ("files", one.path if one.pruned_s is None else f"pruned {moment(one.pruned_s)}"),
                (
                    "taught",
                    f"{count(len(found.taught), 'event')}{f' beside {joined(shown)}' if shown else ''}",
                ),
                ("people", joined([f"{name} ({number})" for name, number in found.authors.items()])),
                ("ancestry", " ← ".join((one.name, *found.ancestors))),
            ]
        )
    )
    for decision in found.decisions:
        _render_decision(decision, out)
    _render_examples(found, prompts, out)
    _render_taught(found, out)
    command = undo(found)
    out.print()
    if command is None:
        out.print("to undo: nothing, it serves nobody")
    else:
        also = f" (also withdraws {joined(found.withdrawn_with_it)})" if found.withdrawn_with_it else ""
        out.print(f"to undo: {command}{also}")


def _render_decision(decision: Decision, out: Console) -> None:
    by = "the gate" if decision.by == "gate" else decision.by
    told = Text("decided ", style="bold").append(verdict(decision.verdict.value))
    why = "; ".join(decision.evidence.reasons)
    numbers = judgement(decision.evidence.judgement)
    told.append(f" by {by}, {moment(decision.decided_s)}", style="default")
    out.print(told)
    for line in (why, numbers):
        if line:
            out.print(f"  {line}")


def _render_examples(found: Provenance, prompts: Mapping[str, str], out: Console) -> None:
    told = _told_examples(found)
    if not told:
        return
    out.print()
    changed = table("PROMPT NEVER TRAINED ON", "BEFORE", "AFTER", ">SCORE")
    for one in told:
        prompt = prompts.get(one.uid) or one.uid
        score = f"{one.before:.2f} → {one.after:.2f}"
        changed.add_row(
            short(prompt, 44), short(one.before_text or "", 44), short(one.after_text or "", 44), score
        )
    out.print(changed)


def _told_examples(found: Provenance) -> list[Example]:
    """The evidence of learning whose answers were kept, most improved first."""
    return [one for one in found.examples if one.before_text is not None and not one.suite][
        :EXAMPLES_SHOWN_MAX
    ]


def _prompts(connection: Connection, found: Provenance | None) -> dict[str, str]:
    """What the examples' prompts say, by event."""
    told = [] if found is None else _told_examples(found)
    kept = {one.uid: event_queries.event_by_uid(connection, one.uid) for one in told}
    return {
        uid: first_user_text(events[0].event.data.get("messages") or ())
        for uid, events in kept.items()
        if events
    }


def _render_taught(found: Provenance, out: Console) -> None:
    out.print()
    events = table("TAUGHT", "KIND", "BY", "WHAT", "OUTCOME")
    for one in found.taught[:TAUGHT_SHOWN_MAX]:
        event = one.kept.event
        events.add_row(
            short(event.uid, 40),
            event.kind.value,
            short(event.author, 20),
            gist(one.kept),
            one.outcome or "–",
        )
    out.print(events)
    if len(found.taught) > TAUGHT_SHOWN_MAX:
        out.print(f"… and {len(found.taught) - TAUGHT_SHOWN_MAX} more (--json lists all)")
    for entry in found.erasures:
        out.print(
            f"erasure {entry.id}, {moment(entry.begun_s)} by {entry.by}: some of what it was shown was"
            " forgotten since; what it learned from it is in its weights"
        )


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "version": line.version.name,
        "number": line.version.number,
        "hash": line.version.hash,
        "parent": line.parent_name,
        "verdict": None if line.verdict is None else line.verdict.value,
        "by": line.by,
        "reasons": list(line.reasons),
        "judgement": {} if line.judgement is None else asdict(line.judgement),
        "events": line.events,
        "authors": line.authors,
        "made_s": line.version.made_s,
        "decided_s": line.decided_s,
        "pruned_s": line.version.pruned_s,
        "serving": line.serving,
        "in_lineage": line.in_lineage,
    }


def _decision_json(decision: Decision) -> Mapping[str, Any]:
    return {
        "verdict": decision.verdict.value,
        "by": decision.by,
        "decided_s": decision.decided_s,
        "through_seq": decision.through_seq,
        "evidence": _evidence_json(decision.evidence),
    }


def _evidence_json(evidence: Evidence) -> dict[str, Any]:
    if evidence.is_readable:
        return evidence.to_json()
    return {"is_readable": False, "reasons": list(evidence.reasons)}


def _why_json(found: Provenance) -> dict[str, Any]:
    one = found.version
    return {
        "agent": one.agent,
        "version": one.name,
        "number": one.number,
        "hash": one.hash,
        "base_hash": one.base_hash,
        "path": one.path,
        "made_s": one.made_s,
        "pruned_s": one.pruned_s,
        "parent": found.parent_name,
        "ancestors": list(found.ancestors),
        "pass": found.pass_id,
        "turn": one.turn_id,
        "attempt": found.attempt,
        "seed": found.seed,
        "recipe": dict(found.recipe),
        "authors": dict(found.authors),
        "taught": [
            {
                "uid": taught.kept.event.uid,
                "kind": taught.kept.event.kind.value,
                "author": taught.kept.event.author,
                "revision": taught.kept.event.revision,
                "outcome": taught.outcome,
                "status": taught.kept.status.value,
                "forgotten": taught.kept.forgotten,
            }
            for taught in found.taught
        ],
        "shown": dict(found.shown),
        "erasures": [erasure.to_json() for erasure in found.erasures],
        "decisions": [_decision_json(decision) for decision in found.decisions],
        "serving": found.serving,
        "champion": found.champion,
        "undo": undo(found),
        "undo_also_withdraws": list(found.withdrawn_with_it),
    }
