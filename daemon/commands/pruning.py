"""`clorad versions prune`: deletes directories of the adapter store that are no longer needed."""

from collections.abc import Sequence

from daemon.commands.ledger import opened
from daemon.console import CommandFailed, byte_size, console, count, joined, short, show_json, table
from daemon.exit_codes import ExitCode
from daemon.roles.startup import lease_holder
from daemon.settings import Settings
from daemon.terminal.progress import working
from daemon.upkeep import pruning
from daemon.upkeep.pruning import PrunedFolder
from ledger.heartbeat import hold_leases
from ledger.learning.agents import all_agents
from ledger.leases import TTL_S_MAX

LEASE = "pruning"


def prune(settings: Settings, *, agent: str | None, keep: int, dry_run: bool, as_json: bool) -> None:
    """Remove the directories that are no longer needed and print them; with `dry_run` only print them."""
    store = settings.store.path
    with opened(settings) as database:
        with database.read() as connection:
            known_agents = sorted(all_agents(connection))
        if agent is not None and agent not in known_agents:
            raise CommandFailed(f"no agent {short(agent, 60)}; there are: {joined(known_agents, 'none')}")
        agents = known_agents if agent is None else [agent]
        try:
            if dry_run:
                pruned = pruning.prunable_folders(database, store, agents, keep=keep)
            else:
                with hold_leases(database, [LEASE], holder=lease_holder(), ttl_s=TTL_S_MAX) as leased:
                    if not leased.tokens:
                        raise CommandFailed("somebody else is pruning right now", code=ExitCode.TRY_AGAIN)
                    with working("removing what is no longer needed"):
                        pruned = pruning.prune(database, store, agents, keep=keep)
        except OSError as fault:
            raise CommandFailed(
                f"the adapter store {store}: {fault.strerror or type(fault).__name__}"
            ) from None
    if as_json:
        show_json(_json(pruned, dry_run=dry_run))
    else:
        _render(pruned, dry_run=dry_run)


def _render(pruned: Sequence[PrunedFolder], *, dry_run: bool) -> None:
    out, rows = console(), table("AGENT", "DIRECTORY", "WHY", ">SIZE")
    for folder in pruned:
        rows.add_row(folder.agent, folder.name, folder.why, byte_size(folder.size_bytes))
    if pruned:
        out.print(rows)
    summary = f"{count(len(pruned), 'directory', 'directories')}, {byte_size(_total(pruned))}"
    out.print(f"{summary} would go; nothing was changed" if dry_run else f"{summary} gone")


def _json(pruned: Sequence[PrunedFolder], *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "size_bytes": _total(pruned),
        "directories": [
            {"agent": folder.agent, "name": folder.name, "why": folder.why, "size_bytes": folder.size_bytes}
            for folder in pruned
        ],
    }


def _total(pruned: Sequence[PrunedFolder]) -> int:
    return sum(folder.size_bytes for folder in pruned)
