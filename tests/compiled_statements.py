"""Compiles each SQL statement once in a process. SQLAlchemy does it for each engine; tests make thousands.

Compiling is a third of the processor time of a test of the ledger.
"""

from typing import Any

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.engine.interfaces import CompiledCacheType
from sqlalchemy.util import LRUCache

_STATEMENTS_MAX = 5_000

_dialects: dict[str, Dialect] = {}
_statements: CompiledCacheType = LRUCache(_STATEMENTS_MAX)


def share() -> None:
    """Let all SQLite engines of this process share their compiled statements from now on."""
    event.listen(Engine, "engine_connect", _share_statements)


def _share_statements(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    # a compiled statement is found by its dialect, which every engine makes anew
    connection.dialect = _dialects.setdefault(connection.dialect.driver, connection.dialect)
    options: Any = connection.get_execution_options()
    if options.get("compiled_cache") is not _statements:
        connection.execution_options(compiled_cache=_statements)
