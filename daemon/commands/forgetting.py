"""`clorad forget`: removes somebody's texts from the ledger, and lists the versions that learned from
them."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from daemon.commands.bridging.journals import forgotten_entries
from daemon.commands.ledger import opened
from daemon.console import CommandFailed, console, count, joined, moment, short, show_json, table
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from ledger.database import Database
from ledger.reports.affected_versions import AffectedVersions, affected_versions
from ledger.upkeep import compaction, forgetting
from ledger.upkeep.erasures import Erasure, all_erasures
from ledger.upkeep.forgetting import Forgotten
from ledger.upkeep.mentions import Kind, Subject

_KINDS = {
    "events": "events",
    "interactions": "interactions they name, or of the conversation",
    "bystanders": "events of others about these interactions: kept, and not learned from any more",
    "dead_letters": "dead letters",
    "messages": "messages to Kafka that carry such letters; what was not sent is not sent",
    "decisions": "decisions whose evidence quotes answers to their prompts",
    "turns": "turns under way that had such an event: void",
}


def forget(
    settings: Settings, *, kind: Kind, name: str, by: str, reason: str, dry_run: bool, as_json: bool
) -> None:
    """Remove the subject's texts from the ledger and print the counts; with `dry_run` only print the counts.

    An author's name also goes from the bridges' journals on this machine. Raises `CommandFailed` if nothing
    has that name, and the ledger never had an erasure for it.
    """
    with opened(settings) as database:
        subject, whom = _subject(database, kind, name)
        journal_entries = (
            forgotten_entries(settings, subject.names, dry_run=dry_run) if kind == "author" else 0
        )
        if dry_run:
            with database.read() as connection:
                forgotten = forgetting.would_forget(connection, subject)
        else:
            forgotten = forgetting.forget(database, subject, whom=whom, by=by, reason=reason)
        with database.read() as connection:
            learned = [
                affected_versions(connection, agent, versions) for agent, versions in forgotten.taught.items()
            ]
            earlier = [
                erasure for erasure in all_erasures(connection, whom=whom) if erasure.id != forgotten.erasure
            ]
    if not forgotten.counts and not earlier and not journal_entries:
        raise CommandFailed(f"the ledger has no {kind} {short(name, 80)}, by that name or by its token")
    emptied = dry_run or not forgotten.counts or compaction.flush(settings.ledger.url)
    if as_json:
        document = _json(forgotten, learned, earlier, dry_run=dry_run)
        show_json({**document, "journal_entries": journal_entries})
    else:
        if journal_entries:
            entries = count(journal_entries, "entry", "entries")
            console().print(f"{entries} of the bridges' journals on this machine named them")
        _render(forgotten, learned, earlier, console(), dry_run=dry_run)
    if not emptied:
        raise CommandFailed(
            "done, but a reader keeps SQLite's write-ahead log from being emptied: `clorad ledger vacuum`",
            code=ExitCode.TRY_AGAIN,
        )


def erasure_line(erasure: Erasure) -> str:
    """An erasure in one line."""
    rows = [f"{number:,} {kind.replace('_', ' ')}" for kind, number in erasure.counts.items()]
    unfinished = "" if erasure.finished_s is not None else "; it broke off or was undone: ask for it again"
    title = f"erasure {erasure.id} ({erasure.kind}), {moment(erasure.begun_s)} by {short(erasure.by, 40)}"
    return f"{title}: {joined(rows, 'nothing')}{unfinished}"


def _subject(database: Database, kind: Kind, name: str) -> tuple[Subject, str]:
    """The subject with every name under which the ledger may have it, and the fingerprint of its name."""
    from feedback.redaction import RedactionCounts, Redactor
    from ledger.identity import ensure_identity

    identity = ensure_identity(database)
    redactor = Redactor(identity.fingerprint)

    def redacted(text: str) -> str:
        return redactor.name(text, RedactionCounts())

    if kind == "event":
        splits = [(name[:place], name[place + 1 :]) for place, sign in enumerate(name) if sign == "#"]
        if not splits:
            raise CommandFailed(
                "an event is named SOURCE#ID, as `clorad receipt` shows it", code=ExitCode.USAGE
            )
        kept = [(redacted(source), redacted(id)) for source, id in splits]
        subject, known_name = Subject(kind=kind, uids=frozenset((*splits, *kept))), name
    else:
        known_name = redacted(name)
        subject = Subject(kind=kind, names=frozenset({name, known_name}))
    return subject, identity.fingerprint(f"{kind}:{known_name}".encode())


def _render(
    forgotten: Forgotten,
    learned: Sequence[AffectedVersions],
    earlier: Sequence[Erasure],
    out: Console,
    *,
    dry_run: bool,
) -> None:
    rows = table(">ROWS", "WHAT")
    for kind, number in forgotten.counts.items():
        rows.add_row(f"{number:,}", _KINDS[kind])
    if forgotten.counts:
        out.print(rows)
    for erasure in earlier:
        out.print(f"it was asked for before: {erasure_line(erasure)}")
    for affected in learned:
        names = joined([version.name for version in affected.versions])
        out.print(f"{affected.agent}: {count(len(affected.versions), 'version')} learned from it: {names}")
        if affected.serving:
            out.print(f"  it is in the weights of {joined(affected.serving)}; to undo: {affected.go_back}")
    if learned:
        out.print("`clorad versions prune --keep 1` removes the files of those that no longer serve")
    if dry_run:
        out.print("nothing was changed")
    elif forgotten.erasure is not None:
        out.print(f"forgotten, as erasure {forgotten.erasure}; Kafka and backups: see the RUNBOOK")
    else:
        out.print("nothing of it was left")


def _json(
    forgotten: Forgotten, learned: Sequence[AffectedVersions], earlier: Sequence[Erasure], *, dry_run: bool
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "erasure": forgotten.erasure,
        "rows": dict(forgotten.counts),
        "earlier": [erasure.to_json() for erasure in earlier],
        "learned": [affected.to_json() for affected in learned],
    }
