"""The dashboard in Chromium: what people click and type, pictures of every page, and axe-core's opinion.

Pictures go to build/dashboard; look at them after a change of the templates or the style. One of them is
examples/dashboard.png, which the README shows.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.dashboard import role
from daemon.process.health import Health
from daemon.settings import Settings
from deploy.kafka.broker import free_port
from ledger.database import Database
from ledger.intake import dead_letters
from ledger.learning.event_queries import event_by_uid
from ledger.versions import routing
from ledger.versions.decisions import decisions_of
from ledger.versions.desired import champion
from tests.dashboard_ledger import PAGES, DashboardLedger
from tests.fakes.vllm import FakeVLLM

playwright_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe_api = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]

PICTURES = Path(__file__).parents[4] / "build" / "dashboard"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SIZES = {"wide": (1280, 900), "phone": (390, 844)}


class Served:
    """A dashboard in a thread, over a ledger of its own."""

    def __init__(self, folder: Path, made: DashboardLedger) -> None:
        shutil.copy(made.path, folder / "clorad.db")
        self.ledger = DashboardLedger(path=folder / "clorad.db", keys=made.keys)
        self.database = Database(self.ledger.url)
        port, self._stopping, health = free_port(), threading.Event(), Health()
        self.address = f"http://127.0.0.1:{port}"
        settings = Settings(ledger={"url": self.ledger.url}, dashboard={"port": port})
        self._running = threading.Thread(target=role.run, args=(settings, self._stopping, health))
        self._running.start()
        until_s = time.monotonic() + 60
        while not health.readiness()[0] and time.monotonic() < until_s:
            time.sleep(0.05)

    def stop(self) -> None:
        self._stopping.set()
        self._running.join(30)
        self.database.close()

    def read(self, what: Any, *about: Any) -> Any:
        with self.database.read() as connection:
            return what(connection, *about)


@pytest.fixture
def served(tmp_path: Path, made_ledger: DashboardLedger) -> Iterator[Served]:
    dashboard = Served(tmp_path, made_ledger)
    yield dashboard
    dashboard.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, served: Served) -> Iterator[Any]:
    """A page of a browser that has the key of a lead."""
    context = chromium.new_context(base_url=served.address, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    opened = context.new_page()
    give_key(opened, served)
    yield opened
    context.close()


def give_key(page: Any, served: Served) -> None:
    page.goto("/key")
    page.get_by_label("Key").fill(served.ledger.keys["lead"])
    page.get_by_role("button", name="Use this key").click()
    page.wait_for_url("**/agents")


def notice(page: Any) -> str:
    return str(page.get_by_role("status").inner_text())


def test_an_operator_reads_the_evidence_of_a_candidate_and_promotes_it(page: Any, served: Served) -> None:
    page.get_by_role("link", name="waits for a person").click()
    page.get_by_role("link", name="billing", exact=True).click()
    page.locator("#versions").get_by_role("link", name="v4-000004").click()
    page.get_by_role("link", name="better8").click()
    assert page.locator("#answers article").count() == 8
    assert page.locator("#answers ins").first.inner_text().startswith("Order 700 is cancelled")
    page.get_by_label("Reason for v4-000004").fill("reads well")
    page.get_by_role("button", name="Promote").click()
    assert "v4-000004 is promoted as soon as the replicas hold it" in notice(page)
    last = served.read(decisions_of, "billing")[-1]
    assert (last.verdict, last.by, last.evidence.reasons) == ("confirm", "lead", ("reads well",))


def test_a_contested_pair_is_settled_by_keyboard_alone(page: Any, served: Served) -> None:
    page.goto("/review?only=contested")
    for key in ("j", "j", "s"):
        page.keyboard.press(key)
    page.keyboard.type("the policy says so")
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    assert "dev#500 counts from now on, against 1 others" in notice(page)
    [kept] = served.read(event_by_uid, "dev#501")
    assert kept.status.value == "superseded"


def test_enter_sends_nothing_before_an_action_was_chosen(page: Any, served: Served) -> None:
    page.goto("/review?only=contested")
    page.get_by_label("Reason for dev#500").fill("hm")
    page.keyboard.press("Enter")
    assert page.get_by_role("status").count() == 0
    [kept] = served.read(event_by_uid, "dev#500")
    assert kept.status.value == "contested"


def test_a_champion_is_rolled_back(page: Any, served: Served) -> None:
    page.goto("/agents/billing")
    page.get_by_label("Reason for billing").fill("users complain")
    page.get_by_role("button", name="Roll back v2-000002").click()
    assert "billing goes back from v2-000002 to v1-000001" in notice(page)
    assert served.read(champion, "billing") == 1


def test_a_dead_letter_is_sent_again(page: Any, served: Served) -> None:
    page.goto("/review?only=letters")
    page.get_by_label("Reason for dead letter 2").fill("the agent is declared now")
    page.locator("article", has_text="unknown agent").get_by_role("button", name="Send again").click()
    assert "dead letter 2 is sent again" in notice(page)
    assert served.read(dead_letters.read, 2).redriven_by == "lead"


def test_a_stale_page_changes_nothing_and_says_why(page: Any, served: Served) -> None:
    page.goto("/versions/billing@v4")
    other = page.context.new_page()
    other.goto("/versions/billing@v4")
    other.get_by_label("Reason for v4-000004").fill("too curt")
    other.get_by_role("button", name="Refuse").click()
    assert "is refused" in notice(other)
    page.get_by_label("Reason for v4-000004").fill("reads well")
    page.get_by_role("button", name="Promote").click()
    assert "was decided about meanwhile" in page.get_by_role("alert").inner_text()
    assert served.read(decisions_of, "billing")[-1].verdict == "refuse"


def test_pages_follow_the_ledger_without_a_reload(page: Any, served: Served) -> None:
    page.goto("/fleet")
    routing.record_replicas(
        served.database,
        [routing.ReplicaState(url="http://new-replica:8000", in_rotation=True, base_name="base", models=())],
    )
    page.get_by_text("http://new-replica:8000").wait_for()


def test_champion_and_candidate_answer_in_the_playground(page: Any, served: Served) -> None:
    replica = FakeVLLM()
    models = ("billing@v2-000002", "billing@v4-000004")
    replica.adapters |= dict.fromkeys(models, "/adapters")
    state = routing.ReplicaState(url=replica.url, in_rotation=True, base_name="base", models=models)
    routing.record_replicas(served.database, [state])
    page.goto("/playground?agent=billing")
    page.get_by_label("Prompt").fill("Cancel order 9, please.")
    page.get_by_role("button", name="Ask both").click()
    assert page.locator(".said").count() == 2
    replica.kill()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_accessible_fits_its_width_and_has_a_picture(
    chromium: Any, served: Served, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    context = chromium.new_context(
        base_url=served.address, viewport={"width": width, "height": height}, color_scheme=scheme
    )
    context.set_default_timeout(30_000)
    page, complaints = context.new_page(), []
    give_key(page, served)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, address in PAGES.items():
        page.goto(address)
        page.locator("[data-reading]").wait_for(state="detached")
        page.screenshot(path=PICTURES / f"{name}-{size}-{scheme}.png", full_page=True)
        if (name, size, scheme) == ("agent", "wide", "light"):
            page.screenshot(path=PICTURES / "readme.png", clip={"x": 0, "y": 0, "width": 1280, "height": 760})
        violations = axe_api.Axe().run(page).response["violations"]
        complaints += [
            f"{name}: {rule['id']}: {node['html'][:200]}"
            for rule in violations
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        if overflow > 0:
            complaints.append(f"{name}: {overflow} pixels wider than the window")
    context.close()
    assert complaints == []
