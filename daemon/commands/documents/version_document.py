"""What `clorad why` says of one version: where it comes from, how it was trained, what follows from it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.console import CommandFailed, joined, short
from daemon.exit_codes import ExitCode
from daemon.roles.canaries import canary_options
from daemon.settings import Settings
from engine.manifest import DamagedManifest, Manifest, NewerManifest, read_manifest
from ledger.database import Connection, Database
from ledger.learning import event_queries
from ledger.learning.agents import all_agents
from ledger.reports.provenance import Provenance, provenance
from ledger.reports.upcoming import what_follows
from ledger.versions.lineage import BASE, Version
from rewards.episode import first_user_text
from serving.canary.waiting import waiting_candidates

_REFERENCE = re.compile(r"(?P<agent>[^@]+)@v?(?P<number>[0-9]{1,9})(?:-(?P<hash>[0-9a-f]{1,64}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDocument:
    """One version with everything that led to it."""

    origin: Provenance
    manifest: Manifest | None  # None: it cannot be read here
    follows: str | None  # what came or comes after its refusal
    waits_for: str | None  # its agent's candidate
    prompts: Mapping[str, str]  # by event: of the examples that have texts

    def to_json(self) -> dict[str, Any]:
        """The version for programs."""
        manifest = self.manifest
        return {
            **self.origin.to_json(),
            "training": None if manifest is None or manifest.metrics is None else manifest.metrics.to_json(),
            "tries": [] if manifest is None else [tried.to_json() for tried in manifest.tries],
            "next": self.follows,
        }


def read_version(settings: Settings, database: Database, reference: str) -> VersionDocument:
    """The version that `billing@v7` or `billing@v7-3fa2c1` names. Raises `CommandFailed` if there is none."""
    agent, number, content_hash = parse_reference(reference)
    with database.read() as connection:
        require_agent(connection, agent)
        if number == BASE:
            raise CommandFailed(f"{agent}@v0 is the base model: nobody taught it")
        origin = provenance(connection, agent, number)
        if origin is None:
            raise CommandFailed(f"{agent} has no version {number}")
        with_texts = [example.uid for example in origin.examples if example.before_text is not None]
        prompts = prompt_texts(connection, with_texts)
        waits = waiting_candidates(connection, canary_options(settings))
        follows = what_follows(connection, agent, number, refusals_max=settings.learning.refusals_max)
    if content_hash is not None and not origin.version.hash.startswith(content_hash):
        raise CommandFailed(f"{agent}@v{number} is {origin.version.name}, not v{number}-{content_hash}")
    return VersionDocument(
        origin=origin,
        manifest=_manifest(settings, origin.version),
        follows=follows,
        waits_for=waits.get(agent),
        prompts=prompts,
    )


def parse_reference(reference: str) -> tuple[str, int, str | None]:
    """Agent, number and hash (if given) of `billing@v7` or `billing@v7-3fa2c1`."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise CommandFailed(
            "a version is named AGENT@vN or AGENT@vN-HASH, as in billing@v7", code=ExitCode.USAGE
        )
    return match["agent"], int(match["number"]), match["hash"]


def require_agent(connection: Connection, agent: str) -> None:
    """Raises `CommandFailed` if there is no such agent."""
    agents = all_agents(connection)
    if agent not in agents:
        raise CommandFailed(f"no agent {short(agent, 60)}; there are: {joined(sorted(agents), 'none')}")


def prompt_texts(connection: Connection, uids: Iterable[str]) -> dict[str, str]:
    """What the user said first in each of these events, as far as the ledger has them."""
    return {
        uid: first_user_text(kept.event.data.get("messages") or ())
        for uid, kept in event_queries.events_named(connection, uids).items()
    }


def _manifest(settings: Settings, version: Version) -> Manifest | None:
    """The version's manifest; None if it cannot be read here."""
    try:
        return read_manifest(settings.store.path / version.path)
    except (OSError, DamagedManifest, NewerManifest):
        return None
