"""Scans that webhooks ask for: one for each repository, again after a failure, until told to stop."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.roles.git_scans import BranchScans
from daemon.roles.git_webhooks import git_webhooks
from daemon.setting_groups.git import GitSettings
from daemon.settings import Settings
from feedback.bridges.git.repository import GitFailed
from feedback.bridges.git.webhooks import BranchUpdate
from tests.unit.serving.gateway.gateway_builder import wait_until

SHOP = {"host": "github", "name": "team/shop", "path": "shop.git", "secret": "a-shared-secret"}


def build_update(**merges: str) -> BranchUpdate:
    return BranchUpdate(repository="team/shop", branch="main", merges=merges)


class RecordedScans:
    """A scan that remembers what it was given, and fails as often as it should."""

    def __init__(self, *, failures: int = 0) -> None:
        self.scanned: list[tuple[str, BranchUpdate]] = []
        self._failures = failures

    def __call__(self, name: str, update: BranchUpdate) -> int:
        self.scanned.append((name, update))
        if len(self.scanned) <= self._failures:
            raise GitFailed("git fetch: ended with 128")
        return 1


@contextmanager
def running(scans: BranchScans) -> Iterator[None]:
    stopping = threading.Event()
    thread = threading.Thread(target=scans.run, args=(stopping,))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=10.0)
        assert not thread.is_alive()


def test_webhooks_that_come_together_have_a_branch_scanned_once_with_all_merges() -> None:
    record = RecordedScans()
    scans = BranchScans(record)
    scans.ask("shop", build_update(a="1"))
    scans.ask("shop", build_update(b="2"))
    scans.ask("site", build_update())
    with running(scans):
        wait_until(lambda: len(record.scanned) == 2)
    assert record.scanned == [("shop", build_update(a="1", b="2")), ("site", build_update())]


def test_a_scan_that_fails_is_tried_again_with_its_merges() -> None:
    record = RecordedScans(failures=2)
    scans = BranchScans(record, retry_s=0.01)
    scans.ask("shop", build_update(a="1"))
    with running(scans):
        wait_until(lambda: len(record.scanned) == 3)
    assert record.scanned == [("shop", build_update(a="1"))] * 3


@pytest.mark.parametrize(
    "changed", [{"secret": "short"}, {"secret": None}, {"host": "other"}, {"name": ""}, {"colour": "red"}]
)
def test_settings_of_a_repository_that_cannot_be_used_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        GitSettings(repositories={"shop": SHOP | changed})
    assert "a-shared-secret" not in str(refused.value)
    assert GitSettings(repositories={"shop": SHOP}).repositories["shop"].branch == "main"


def test_each_repository_of_the_settings_has_a_path_of_its_own(tmp_path: Path) -> None:
    settings = Settings(
        git={"repositories": {"shop": SHOP, "site": SHOP | {"host": "gitlab", "name": "team/site"}}},
        ledger={"url": f"sqlite:///{tmp_path / 'clorad.db'}"},
    )
    with git_webhooks(settings) as (webhooks, _):
        assert {path: (webhook.host, webhook.repository) for path, webhook in webhooks.items()} == {
            "git/shop": ("github", "team/shop"),
            "git/site": ("gitlab", "team/site"),
        }
