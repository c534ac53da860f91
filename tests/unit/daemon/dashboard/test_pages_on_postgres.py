"""Every page over a ledger in a real Postgres, with rows in it: it has the same rows as over SQLite."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from daemon.dashboard.application import Dashboard
from daemon.dashboard.cached_reports import ReportCache
from daemon.dashboard.reports import Reports
from daemon.dashboard.role import sessions_of
from daemon.settings import Settings
from ledger import schema
from ledger.database import Database
from tests.dashboard_ledger import PAGES, fill_dashboard_ledger
from tests.postgres_server import empty_database
from tests.unit.daemon.dashboard.conftest import ADDRESS, Browser, words

pytestmark = pytest.mark.postgres

OTHERS = {
    "agents by accuracy": "/agents?sort=-accuracy",
    "failures": "/agents/billing?only=failures",
    "contested": "/review?only=contested&page=2",
    "letters": "/review?only=letters",
    "one pass": "/learner?pass=1",
    "events of a turn": "/events?agent=billing&turn=1",
    "missing": "/fleet?only=missing",
}


@pytest.fixture(scope="module")
def client(postgres_ledger: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a dashboard over that ledger."""
    folder: Path = tmp_path_factory.mktemp("store")
    empty_database(postgres_ledger, [table.name for table in schema.metadata.sorted_tables])
    with closing(Database(postgres_ledger)) as database, closing(ReportCache()) as cache:
        fill_dashboard_ledger(database)
        settings = Settings(ledger={"url": postgres_ledger}, store={"path": str(folder)})
        reports = Reports(settings=settings, database=database, cache=cache)
        application = Dashboard(reports, sessions_of(settings.dashboard, reports)).application()
        with closing(TestClient(application, base_url=ADDRESS)) as opened:
            yield opened


@pytest.mark.parametrize("name", [name for name in PAGES if name != "refused"] + list(OTHERS))
def test_a_page_has_the_same_rows_as_over_sqlite(client: TestClient, browser: Browser, name: str) -> None:
    address = (PAGES | OTHERS)[name]
    answer = client.get(address)
    assert answer.status_code == 200, words(answer.text)
    rows = answer.text.count("data-item")
    assert rows == browser.source(address).count("data-item")
    assert rows > 0 or name in ("key", "playground", "version", "event", "letters", "contested", "missing")
