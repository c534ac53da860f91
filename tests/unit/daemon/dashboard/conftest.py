"""The dashboard's application over one generated ledger, asked by a client in this process."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from daemon.dashboard.application import Dashboard
from daemon.dashboard.cached_reports import ReportCache
from daemon.dashboard.reports import Reports
from daemon.dashboard.role import sessions_of
from daemon.settings import Settings
from ledger.database import Database
from tests.dashboard_ledger import DashboardLedger, build_dashboard_ledger

ADDRESS = "http://127.0.0.1:8081"

Open = Callable[..., "Browser"]


class Browser:
    """Asks for pages as a browser does: with cookies, and with the form token of the last page."""

    def __init__(self, client: TestClient, ledger: DashboardLedger, reports: Reports) -> None:
        self.client, self.ledger, self.reports = client, ledger, reports

    @property
    def database(self) -> Database:
        return self.reports.database

    def forget_reports(self) -> None:
        """As if the time had passed for which reports are fresh."""
        self.reports.cache.forget()

    def get(self, address: str, status: int = 200, **headers: str) -> str:
        """The page's text."""
        answer = self.client.get(address, headers=headers)
        assert answer.status_code == status, answer.text
        return words(answer.text)

    def source(self, address: str) -> str:
        """The page's HTML."""
        answer = self.client.get(address)
        assert answer.status_code == 200, answer.text
        return answer.text

    def form_token(self) -> str:
        """The token in the forms of this session; empty without one."""
        match = re.search(r'name="token" value="([^"]*)"', self.source("/agents/sql"))
        return match[1] if match else ""

    def act(self, action: str, code: int = 200, /, **fields: str) -> str:
        """Send the form of an action from the review page. The text of the page after it."""
        data = {"token": self.form_token(), "back": "/review", **fields}
        answer = self.client.post(f"/actions/{action}", data=data, headers={"origin": ADDRESS})
        assert answer.status_code == code, answer.text
        return words(answer.text)

    def give_key(self, name: str) -> None:
        """Begin a session with the key of that name."""
        answer = self.client.post("/key", data={"key": self.ledger.keys[name]}, headers={"origin": ADDRESS})
        assert answer.status_code == 200, answer.text


def words(html: str) -> str:
    """The text that people read, its white space as single spaces."""
    without = re.sub(r"<(script|style|title)\b.*?</\1>", " ", html, flags=re.DOTALL)
    plain = re.sub(r"<[^>]+>", " ", without)
    for name, sign in (("&#39;", "'"), ("&#34;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        plain = plain.replace(name, sign)
    return " ".join(plain.split())


@pytest.fixture(scope="session")
def made_ledger(tmp_path_factory: pytest.TempPathFactory) -> DashboardLedger:
    return build_dashboard_ledger(tmp_path_factory.mktemp("dashboard") / "made.db")


@pytest.fixture
def open_dashboard(tmp_path: Path, made_ledger: DashboardLedger) -> Iterator[Open]:
    """Opens the dashboard over a copy of the ledger, with these settings of `[dashboard]`."""
    path = tmp_path / "clorad.db"
    shutil.copy(made_ledger.path, path)
    ledger = DashboardLedger(path=path, keys=made_ledger.keys)
    opened: list[Any] = []

    def open_it(**dashboard: Any) -> Browser:
        settings = Settings(
            ledger={"url": ledger.url}, store={"path": str(tmp_path / "adapters")}, dashboard=dashboard
        )
        database = Database(ledger.url)
        reports = Reports(settings=settings, database=database, cache=ReportCache())
        application = Dashboard(reports, sessions_of(settings.dashboard, reports)).application()
        client = TestClient(application, base_url=ADDRESS)
        opened.extend([reports.cache, database, client])
        return Browser(client, ledger, reports)

    yield open_it
    for part in opened:
        with closing(part):
            pass


@pytest.fixture
def browser(open_dashboard: Open) -> Browser:
    """A dashboard on loopback that anybody may look at."""
    return open_dashboard()
