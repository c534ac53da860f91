"""`clorad forget`: somebody's words are taken out of the ledger, and what learned from them is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from sqlalchemy import Connection

from daemon.commands.ledger import opened
from daemon.console import CommandFailed, console, count, joined, moment, short, show_json, table
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from ledger.database import Database
from ledger.upkeep import compaction, forgetting
from ledger.upkeep.erasures import Erasure, all_erasures
from ledger.upkeep.forgetting import Forgotten
from ledger.upkeep.mentions import Kind, Subject
from ledger.versions.desired import champion
from ledger.versions.lineage import BASE, Version, lineage_of, versions_of

_WHAT = {
    "events": "events",
    "interactions": "interactions they name, or of the conversation",
    "bystanders": "events of others about these interactions: kept, and not learned from any more",
    "dead_letters": "dead letters",
    "messages": "messages to Kafka that carry such letters; what was not sent is not sent",
    "decisions": "decisions whose evidence quotes answers to their prompts",
    "turns": "turns under way that had such an event: void",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AffectedVersions:
    """Versions of one agent that learned from it, and the way back to before."""

    agent: str
    versions: tuple[Version, ...]
    serving: tuple[str, ...]  # of these, the champion and what it comes from
    back_to: int | None  # the newest version before the oldest of those that still has its files


def forget(
    settings: Settings, *, kind: Kind, name: str, by: str, reason: str, dry_run: bool, as_json: bool
) -> None:
    """Take the subject's texts out of the ledger and print what went; with `dry_run` only print what would.

    Raises `CommandFailed` where nothing of that name is there, nor was.
    """
    with opened(settings) as database:
        subject, whom = _subject(database, kind, name)
        if dry_run:
            with database.read() as connection:
                found = forgetting.would_forget(connection, subject)
        else:
            found = forgetting.forget(database, subject, whom=whom, by=by, reason=reason)
        with database.read() as connection:
            lessons = [_lesson(connection, agent, some) for agent, some in found.taught.items()]
            earlier = [one for one in all_erasures(connection, whom=whom) if one.id != found.erasure]
    if not found.counts and not earlier:
        raise CommandFailed(f"the ledger has no {kind} {short(name, 80)}, by that name or by its token")
    emptied = dry_run or not found.counts or compaction.flush(settings.ledger.url)
    if as_json:
        show_json(_json(found, lessons, earlier, dry_run=dry_run))
    else:
        _render(found, lessons, earlier, console(), dry_run=dry_run)
    if not emptied:
        raise CommandFailed(
            "done, but a reader keeps SQLite's write-ahead log from being emptied: `clorad ledger vacuum`",
            code=ExitCode.TRY_AGAIN,
        )


def erasure_json(one: Erasure) -> dict[str, Any]:
    """An entry for programs."""
    return {
        "id": one.id,
        "kind": one.kind,
        "whom": one.whom,
        "by": one.by,
        "reason": one.reason,
        "begun_s": one.begun_s,
        "finished_s": one.finished_s,
        "counts": dict(one.counts),
    }


def erasure_line(one: Erasure) -> str:
    """An entry for people."""
    took = joined([f"{number:,} {kind.replace('_', ' ')}" for kind, number in one.counts.items()], "nothing")
    over = "" if one.finished_s is not None else "; it broke off or was undone: ask for it again"
    return f"erasure {one.id} ({one.kind}), {moment(one.begun_s)} by {short(one.by, 40)}: {took}{over}"


def _subject(database: Database, kind: Kind, name: str) -> tuple[Subject, str]:
    """Whom the ledger means by it, under any name redaction may have given it, and a fingerprint of that."""
    from feedback.identity import ensure_identity
    from feedback.redaction import Found, Redactor

    identity = ensure_identity(database)
    redactor = Redactor(identity.fingerprint)

    def known_as(given: str) -> str:
        return redactor.name(given, Found())

    if kind == "event":
        splits = [(name[:place], name[place + 1 :]) for place, sign in enumerate(name) if sign == "#"]
        if not splits:
            raise CommandFailed(
                "an event is named SOURCE#ID, as `clorad receipt` shows it", code=ExitCode.USAGE
            )
        kept = [(known_as(source), known_as(id)) for source, id in splits]
        subject, told = Subject(kind=kind, uids=frozenset((*splits, *kept))), name
    else:
        subject, told = Subject(kind=kind, names=frozenset({name, known_as(name)})), known_as(name)
    return subject, identity.fingerprint(f"{kind}:{told}".encode())


def _lesson(connection: Connection, agent: str, taught: Sequence[Version]) -> AffectedVersions:
    serving = lineage_of(connection, agent, champion(connection, agent))
    known = {one.number: one for one in versions_of(connection, agent)}
    oldest = max((serving.index(one.number) for one in taught if one.number in serving), default=None)
    before = [] if oldest is None else serving[oldest + 1 :]
    left = [number for number in before if number == BASE or known[number].pruned_s is None]
    tainted = [] if oldest is None else serving[: oldest + 1]
    return AffectedVersions(
        agent=agent,
        versions=tuple(taught),
        serving=tuple(known[number].name for number in tainted),
        back_to=left[0] if left else None,
    )


def _go_back(one: AffectedVersions) -> str | None:
    return None if one.back_to is None else f"clorad rollback {one.agent} --to {one.back_to} --reason '…'"


def _render(
    found: Forgotten,
    lessons: Sequence[AffectedVersions],
    earlier: Sequence[Erasure],
    out: Console,
    *,
    dry_run: bool,
) -> None:
    rows = table(">ROWS", "WHAT")
    for kind, number in found.counts.items():
        rows.add_row(f"{number:,}", _WHAT[kind])
    if found.counts:
        out.print(rows)
    for one in earlier:
        out.print(f"it was asked for before: {erasure_line(one)}")
    for lesson in lessons:
        names = joined([one.name for one in lesson.versions])
        out.print(f"{lesson.agent}: {count(len(lesson.versions), 'version')} learned from it: {names}")
        if lesson.serving:
            out.print(f"  it is in the weights of {joined(lesson.serving)}; to undo: {_go_back(lesson)}")
    if lessons:
        out.print("files of these versions that serve no more go with `clorad versions prune --keep 1`")
    if dry_run:
        out.print("nothing was changed")
    elif found.erasure is not None:
        out.print(f"forgotten, as erasure {found.erasure}; Kafka and backups: see the RUNBOOK")
    else:
        out.print("nothing of it was left")


def _json(
    found: Forgotten, lessons: Sequence[AffectedVersions], earlier: Sequence[Erasure], *, dry_run: bool
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "erasure": found.erasure,
        "rows": dict(found.counts),
        "earlier": [erasure_json(one) for one in earlier],
        "learned": [
            {
                "agent": one.agent,
                "versions": [version.name for version in one.versions],
                "serving": list(one.serving),
                "go_back": _go_back(one),
            }
            for one in lessons
        ],
    }
