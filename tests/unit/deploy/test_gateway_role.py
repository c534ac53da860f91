"""deploy/postgres/gateway_role.sql: with that user the gateway reads what it needs, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, select

from ledger import schema
from ledger.access.keys import keys_by_id
from ledger.database import Database
from ledger.errors import LedgerRefused, LedgerUnavailable
from ledger.feedback_tables import events
from ledger.identity import ensure_identity, known_identity
from ledger.learning.agents import all_agents
from ledger.versions.desired import raise_generation
from ledger.versions.routing import routing
from tests import postgres_server

SQL = Path(__file__).parents[3] / "deploy" / "postgres" / "gateway_role.sql"
ROLE = "clorad_gateway_test"


def statements() -> list[str]:
    """The statements of the file without psql's own: it makes the role, `:"gateway"` names it."""
    text = re.sub(r"^--.*$", "", SQL.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^SELECT format.*?\\gexec$", f"CREATE ROLE {ROLE} LOGIN;", text, flags=re.M | re.S)
    text = text.replace(':"gateway"', ROLE).replace(":'password'", "'x'")
    return [statement for statement in map(str.strip, text.split(";")) if statement]


@pytest.fixture
def gateway_database(postgres: str) -> Iterator[Database]:
    url = postgres_server.new_database(postgres)
    owner = Database(url)
    owner.migrate()
    ensure_identity(owner)
    owner.close()
    postgres_server.execute(url, *statements())
    reading = Database(make_url(url).set(username=ROLE).render_as_string(hide_password=False))
    yield reading
    reading.close()
    postgres_server.execute(url, f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")
    postgres_server.drop_database(url)


@pytest.mark.postgres
def test_the_gateway_reads_what_it_needs_and_no_texts_and_writes_nothing(gateway_database: Database) -> None:
    assert known_identity(gateway_database) is not None
    with gateway_database.read() as connection:
        assert routing(connection, {}).routes == {}
        assert keys_by_id(connection) == {}
        assert all_agents(connection) == {}
    for table in (events, schema.decisions, schema.turns):
        with pytest.raises(LedgerRefused, match="42501"), gateway_database.read() as connection:
            connection.execute(select(table))
    with pytest.raises((LedgerRefused, LedgerUnavailable)), gateway_database.write() as connection:
        raise_generation(connection)
