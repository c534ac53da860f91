"""The size of the ledger: rows and bytes by table. This reads all rows, which may take minutes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Connection, LargeBinary, Text, cast, func, select, text

from ledger.schema import metadata
from ledger.upkeep import retention


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """Rows of one table, or some of them. Bytes are those of texts, JSON and records, as stored."""

    rows: int
    size_bytes: int

    def to_json(self) -> dict[str, int]:
        """The size for programs."""
        return {"rows": self.rows, "size_bytes": self.size_bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSize:
    """The whole ledger."""

    tables: Mapping[str, TableSize]
    database_bytes: int
    interactions_to_delete: TableSize  # those that `ledger.interactions_days` deletes next

    def to_json(self) -> dict[str, Any]:
        """The size for programs."""
        return {
            "kinds": {name: size.to_json() for name, size in self.tables.items()},
            "database_bytes": self.database_bytes,
        }


def ledger_size(connection: Connection, *, interactions_s_max: float | None) -> LedgerSize:
    """The size in one snapshot. `interactions_s_max`: seconds that interactions are stored; None: for
    ever."""
    rows, size_bytes = (
        (0, 0)
        if interactions_s_max is None
        else retention.would_go(connection, older_than_s=interactions_s_max)
    )
    return LedgerSize(
        tables=table_sizes(connection),
        database_bytes=database_bytes(connection),
        interactions_to_delete=TableSize(rows=rows, size_bytes=size_bytes),
    )


def table_sizes(connection: Connection) -> Mapping[str, TableSize]:
    """The size of every table."""
    return {table.name: _size(connection, table) for table in metadata.sorted_tables}


def database_bytes(connection: Connection, *, free_pages: bool = True) -> int:
    """Bytes of the database with its indexes. SQLite's free pages count unless `free_pages` is false."""
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
    rows, *sums = connection.execute(select(func.count(), *lengths).select_from(table)).one()
    return TableSize(rows=int(rows), size_bytes=sum(map(int, sums)))


def _length(column: Any) -> Any:
    # JSON is stored as ASCII, so that characters are bytes.
    return func.length(cast(column, Text) if isinstance(column.type, JSON) else column)
