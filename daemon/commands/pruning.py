"""`clorad versions prune`: making room in the adapter store."""

from collections.abc import Sequence

from daemon.commands.ledger import opened
from daemon.console import CommandFailed, byte_size, console, count, joined, short, show_json, table
from daemon.exit_codes import ExitCode
from daemon.roles.startup import lease_holder
from daemon.settings import Settings
from daemon.upkeep import pruning
from daemon.upkeep.pruning import PrunedFolder
from ledger.heartbeat import held
from ledger.learning.agents import all_agents
from ledger.leases import TTL_S_MAX

LEASE = "pruning"


def prune(settings: Settings, *, agent: str | None, keep: int, dry_run: bool, as_json: bool) -> None:
    """Remove the directories that nobody needs and print them; with `dry_run` only print them."""
    store = settings.store.path
    with opened(settings) as database:
        with database.read() as connection:
            known = sorted(all_agents(connection))
        if agent is not None and agent not in known:
            raise CommandFailed(f"no agent {short(agent, 60)}; there are: {joined(known, 'none')}")
        agents = known if agent is None else [agent]
        try:
            if dry_run:
                found = pruning.prunable_folders(database, store, agents, keep=keep)
            else:
                with held(database, [LEASE], holder=lease_holder(), ttl_s=TTL_S_MAX) as leased:
                    if not leased.tokens:
                        raise CommandFailed("somebody else is pruning right now", code=ExitCode.TRY_AGAIN)
                    found = pruning.prune(database, store, agents, keep=keep)
        except OSError as fault:
            raise CommandFailed(
                f"the adapter store {store}: {fault.strerror or type(fault).__name__}"
            ) from None
    if as_json:
        show_json(_json(found, dry_run=dry_run))
    else:
        _render(found, dry_run=dry_run)


def _render(found: Sequence[PrunedFolder], *, dry_run: bool) -> None:
    out, rows = console(), table("AGENT", "DIRECTORY", "WHY", ">SIZE")
    for one in found:
        rows.add_row(one.agent, one.name, one.why, byte_size(one.size_bytes))
    if found:
        out.print(rows)
    told = f"{count(len(found), 'directory', 'directories')}, {byte_size(_total(found))}"
    out.print(f"{told} would go; nothing was changed" if dry_run else f"{told} gone")


def _json(found: Sequence[PrunedFolder], *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "size_bytes": _total(found),
        "directories": [
            {"agent": one.agent, "name": one.name, "why": one.why, "size_bytes": one.size_bytes}
            for one in found
        ],
    }


def _total(found: Sequence[PrunedFolder]) -> int:
    return sum(one.size_bytes for one in found)
