"""How much the ledger holds, by kind: rows, and the bytes of what is long in them. Reads all of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Connection, LargeBinary, Text, cast, func, select, text

from ledger.schema import metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """One kind of row. Bytes are those of texts, JSON and records, as stored."""

    rows: int
    size_bytes: int


def sizes(connection: Connection) -> Mapping[str, TableSize]:
    """By table, in one snapshot."""
    return {table.name: _size(connection, table) for table in metadata.sorted_tables}


def database_bytes(connection: Connection, *, free_pages: bool = True) -> int:
    """Of the whole database with its indexes. SQLite's free pages count unless `free_pages` is false."""
    if connection.dialect.name == "sqlite":
        pages, free, size = (
            int(connection.scalar(text(f"PRAGMA {name}")) or 0)
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages if free_pages else pages - free) * size
    return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def _size(connection: Connection, table: Any) -> TableSize:
    long = [column for column in table.columns if isinstance(column.type, JSON | LargeBinary | Text)]
    lengths = [func.coalesce(func.sum(_length(column)), 0) for column in long]
    rows, *found = connection.execute(select(func.count(), *lengths).select_from(table)).one()
    return TableSize(rows=int(rows), size_bytes=sum(int(one) for one in found))


def _length(column: Any) -> Any:
    # JSON is stored as ASCII, so that characters are bytes.
    return func.length(cast(column, Text) if isinstance(column.type, JSON) else column)
