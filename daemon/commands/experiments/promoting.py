"""`clorad experiment promote`: the version that an experiment ended with becomes an agent's candidate."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from daemon.commands.documents.version_document import parse_reference, require_agent
from daemon.commands.experiments.results import read_results
from daemon.commands.ledger import opened
from daemon.console import CommandFailed
from daemon.settings import Settings
from engine.adapter_files import VersionTaken, content_hash, publish
from engine.adapter_store import draft_of
from engine.manifest import FORMAT, MANIFEST, DamagedManifest, NewerManifest, read_manifest, write_manifest
from engine.recipe import recipe_from
from ledger.database import Database
from ledger.errors import AdoptionRefused
from ledger.experiments.adoption import Adoption, plan_adoption, record_adoption
from ledger.heartbeat import hold_leases
from ledger.learning.agents import all_agents
from ledger.learning.turns import lease_name
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import BASE, Version, version

LEASE_S = 10.0


def promote(settings: Settings, name: str, *, agent: str, by: str, reason: str) -> dict[str, Any]:
    """Make the version that the experiment ended with a candidate of the agent.

    The agent's gate judges it as any other candidate; nothing serves yet. Raises `CommandFailed` with the
    reason where the agent cannot take it.
    """
    reference = _last_version(settings.experiments.path, name)
    with opened(settings) as database:
        source = _source(database, reference)
        with database.read() as connection:
            require_agent(connection, agent)
        try:
            candidate = _adopt(settings, database, source, agent, by=by, reason=reason)
        except AdoptionRefused as refusal:
            raise CommandFailed(f"{source.model}: {refusal}") from None
        with database.read() as connection:
            gate = all_agents(connection)[agent].gate
    return {
        "experiment": name,
        "from": source.name,
        "agent": agent,
        "version": candidate.name,
        "gate": gate.value,
        "by": by,
        "reason": reason,
    }


def sentence(done: Mapping[str, Any]) -> str:
    """What was done and what decides now, for people."""
    judges = {
        GateMode.CORRECTIONS: "held-out corrections and the no-harm suite decide",
        GateMode.OUTCOMES: "conversations with users decide, a share of which it answers",
    }
    return (
        f"{done['experiment']}@{done['from']} is the candidate {done['version']} of {done['agent']}: "
        f"{judges[GateMode(done['gate'])]}; `clorad versions {done['agent']}` shows the verdict"
    )


def _last_version(folder: Path, name: str) -> str:
    """The version that serves the experiment at its end, as `AGENT@vN-HASH`."""
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        raise CommandFailed(f"no experiment {name[:60]} in {folder}")
    results = read_results(path)
    if results.end is None:
        raise CommandFailed(f"{name} is not over: `clorad experiment stop {name}` ends it after its step")
    serves = results.next_mark().version
    if serves == "v0":
        raise CommandFailed(f"{name} learned nothing: the base answers it")
    return f"{name}@{serves}"


def _source(database: Database, reference: str) -> Version:
    agent, number, start = parse_reference(reference)
    assert number != BASE
    with database.read() as connection:
        source = version(connection, agent, number)
    if source is None or not source.hash.startswith(start or ""):
        raise CommandFailed(f"{reference} is in the results, and not in this installation's ledger")
    return source


def _adopt(
    settings: Settings, database: Database, source: Version, agent: str, *, by: str, reason: str
) -> Version:
    """Copy the directory, then record the candidate. Raises `AdoptionRefused`."""
    lease, store = lease_name(agent), settings.store.path
    with hold_leases(database, [lease], holder=f"{by}, adopting", ttl_s=LEASE_S) as leased:
        if lease not in leased.tokens:
            raise AdoptionRefused(f"{agent} is learning: try again after its turn")
        with database.read() as connection:
            adoption = plan_adoption(connection, source, agent)
            _refuse_other_shape(adoption, all_agents(connection)[agent].recipe)
        _copy(store, adoption, token=leased.tokens[lease])
        return record_adoption(database, adoption, token=leased.tokens[lease], by=by, reason=reason)


def _refuse_other_shape(adoption: Adoption, agent_recipe: Mapping[str, Any]) -> None:
    """Raises `AdoptionRefused` where the agent's next turn could not go on from the version."""
    trained, wanted = recipe_from(adoption.recipe), recipe_from(agent_recipe)
    for field in ("rank", "alpha", "rslora", "targets"):
        has, needs = getattr(trained, field), getattr(wanted, field)
        if has != needs:
            raise AdoptionRefused(
                f"its {field} is {has}; the recipe of {adoption.agent} says {needs}, which its turns need"
            )


def _copy(store: Path, adoption: Adoption, *, token: int) -> None:
    """The version's files under the candidate's name. Raises `AdoptionRefused` where they are damaged."""
    source = store / adoption.source.path
    draft = draft_of(store, adoption.agent, turn_id=0, token=token)
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        manifest = read_manifest(source)
        shutil.copytree(source, draft, ignore=shutil.ignore_patterns(MANIFEST))
        if content_hash(draft) != adoption.source.hash:
            raise AdoptionRefused("its files are not what was trained")
        own = replace(manifest, agent=adoption.agent, version=adoption.name, format=FORMAT)
        write_manifest(draft, replace(own, parent=f"{adoption.source.agent}@{manifest.parent or 'v0'}"))
        publish(draft, store / adoption.path)
    except (FileNotFoundError, DamagedManifest, NewerManifest, VersionTaken, ValueError) as fault:
        raise AdoptionRefused(f"its files: {fault}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
