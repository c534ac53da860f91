"""`clorad ledger size`: what takes the room, and what would go."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.commands.ledger import opened
from daemon.console import byte_size, console, count, show_json, table
from daemon.settings import Settings
from daemon.upkeep import pruning
from engine import adapter_store
from ledger.database import Database
from ledger.learning.agents import all_agents
from ledger.reports import sizes
from ledger.upkeep import retention

KEEP = 5
"""Of each champion's lineage, as `clorad versions prune` has it."""


def show(settings: Settings, *, as_json: bool) -> None:
    """Print rows and bytes by kind, and what pruning would free. Raises `CommandFailed` without a ledger."""
    with opened(settings) as database:
        found = _found(database, settings)
    if as_json:
        show_json(found)
        return
    rows = table("KIND", ">ROWS", ">TEXTS")
    for kind, size in found["kinds"].items():
        rows.add_row(kind.replace("_", " "), f"{size['rows']:,}", byte_size(size["size_bytes"]))
    out = console()
    out.print(rows)
    out.print(f"database: {byte_size(found['database_bytes'])}")
    store, going = found["store"], found["would_go"]
    out.print(
        f"adapter store: {count(store['directories'], 'directory', 'directories')},"
        f" {byte_size(store['size_bytes'])}"
    )
    out.print(
        f"would go: {count(going['interactions']['rows'], 'interaction')},"
        f" {byte_size(going['interactions']['size_bytes'])} (after {_days(settings)})"
    )
    out.print(
        f"would go: {count(going['directories']['rows'], 'directory', 'directories')},"
        f" {byte_size(going['directories']['size_bytes'])} (`clorad versions prune`)"
    )


def _found(database: Database, settings: Settings) -> dict[str, Any]:
    days = settings.ledger.interactions_days
    with database.read() as connection:
        agents = sorted(all_agents(connection))
        kinds = sizes.sizes(connection)
        whole = sizes.database_bytes(connection)
        old = retention.would_go(connection, older_than_s=days * retention.DAY_S) if days else (0, 0)
    store = settings.store.path
    gone = pruning.would_go(database, store, agents, keep=KEEP) if store.is_dir() else []
    return {
        "kinds": {kind: {"rows": one.rows, "size_bytes": one.size_bytes} for kind, one in kinds.items()},
        "database_bytes": whole,
        "store": _store(store, agents),
        "would_go": {
            "interactions": {"rows": old[0], "size_bytes": old[1]},
            "directories": {"rows": len(gone), "size_bytes": sum(one.size_bytes for one in gone)},
        },
    }


def _store(store: Path, agents: list[str]) -> Mapping[str, int]:
    found = [folder.path for agent in agents for folder in adapter_store.folders(store, agent)]
    return {"directories": len(found), "size_bytes": sum(map(adapter_store.size_bytes, found))}


def _days(settings: Settings) -> str:
    days = settings.ledger.interactions_days
    return f"{days} days, ledger.interactions_days" if days else "for ever: ledger.interactions_days is 0"
