"""`clorad promote`, `refuse`, `hold` and `resume`: what a person decides about versions and agents."""

from collections.abc import Callable
from typing import Any

from daemon.commands.documents.version_document import parse_reference, require_agent
from daemon.commands.ledger import opened
from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from ledger.database import Database
from ledger.errors import FlipRefused
from ledger.versions import decisions, desired, holds, lineage, promotion
from ledger.versions.acting import reinstating
from ledger.versions.acting.reinstating import EventLeftBehind
from ledger.versions.lineage import Version


def promote(
    settings: Settings, reference: str, *, by: str, reason: str, is_candidate: bool | None = None
) -> dict[str, Any]:
    """Let a version serve; the fleet role does it as soon as replicas hold it.

    It is a candidate that passed the gate, or one that was refused or rolled back, which needs a reason.
    Raises `CommandFailed`, also where it is not what the caller saw of the two (`is_candidate`), if given.
    """
    left: list[EventLeftBehind] = []
    settled: list[Version] = []

    def let_serve(database: Database, version: Version) -> None:
        with database.read() as connection:
            is_undecided = version in decisions.undecided(connection)
        if is_candidate not in (None, is_undecided):
            raise CommandFailed(f"{version.agent}@{version.name} was decided about meanwhile")
        if is_undecided:
            promotion.confirm(database, version, by=by, reason=reason)
            return
        if not reason.strip():
            raise CommandFailed(
                f"{version.agent}@{version.name} was refused or rolled back: say why it comes back, --reason",
                code=ExitCode.USAGE,
            )
        left.extend(reinstating.reinstate(database, version, by=by, reason=reason))
        settled.append(version)

    done = _decide(settings, reference, let_serve) | {"verdict": "confirm", "by": by}
    if not settled:
        return done
    not_following = [{"event": event.uid, "status": event.status.value} for event in left]
    return done | {"verdict": "reinstate", "not_following": not_following}


def refuse(settings: Settings, reference: str, *, by: str, reason: str) -> dict[str, Any]:
    """Refuse a candidate; a canary answers nobody any more."""

    def turn_down(database: Database, candidate: Version) -> None:
        promotion.refuse(database, candidate, by=by, reason=reason)

    return _decide(settings, reference, turn_down) | {"verdict": "refuse", "by": by}


def hold(settings: Settings, agent: str, *, by: str, reason: str) -> bool:
    """Put the agent on hold. Returns whether it was not before."""
    with opened(settings) as database:
        _require_agent(database, agent)
        return holds.hold(database, agent, by=by, reason=reason)


def resume(settings: Settings, agent: str, *, by: str) -> bool:
    """End the agent's hold. Returns whether it was on hold."""
    with opened(settings) as database:
        _require_agent(database, agent)
        return holds.resume(database, agent, by=by)


def _decide(
    settings: Settings, reference: str, decide: Callable[[Database, Version], None]
) -> dict[str, Any]:
    agent, number, content_hash = parse_reference(reference)
    with opened(settings) as database:
        with database.read() as connection:
            require_agent(connection, agent)
            version = lineage.version(connection, agent, number)
            serves = desired.champion(connection, agent) == number
        if version is None:
            raise CommandFailed(f"{agent} has no version {number}")
        if content_hash is not None and not version.hash.startswith(content_hash):
            raise CommandFailed(f"{agent}@v{number} is {version.name}, not v{number}-{content_hash}")
        if serves:
            raise CommandFailed(f"{agent} serves {version.name}; `clorad rollback {agent}` goes back")
        try:
            decide(database, version)
        except FlipRefused as refusal:
            raise CommandFailed(f"{agent}@{version.name}: {refusal}") from None
    return {"agent": agent, "version": version.name}


def _require_agent(database: Database, agent: str) -> None:
    with database.read() as connection:
        require_agent(connection, agent)
