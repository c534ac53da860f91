"""A ledger as an older clorad made it: nothing that came later may be used to fill it."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import ledger
from ledger.database import Database

BILLING = (
    "INSERT INTO agents (name, base_hash, scorer, recipe, capture, weight, declared_s)"
    " VALUES ('billing', 'b', 'exact', '{}', false, 1.0, 1.0)"
)


def build_schema(database: Database, revision: str) -> None:
    """The schema of that version, in a database without tables."""
    config = Config()
    config.set_main_option("script_location", str(Path(ledger.__file__).parent / "migrations"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
