"""Who may come to a gateway, from its settings; and that it does not start open to others by accident."""

import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.roles import gateway
from daemon.roles.gateway import access_of, openness_fault
from daemon.settings import GatewaySettings, Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_on_loopback_it_may_be_open(host: str) -> None:
    assert openness_fault(GatewaySettings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "gateway.example"])
def test_beyond_loopback_it_is_open_only_on_purpose(host: str) -> None:
    fault = openness_fault(GatewaySettings(host=host))
    assert fault is not None
    assert "gateway.open_beyond_loopback" in fault
    assert openness_fault(GatewaySettings(host=host, access="keys")) is None
    assert openness_fault(GatewaySettings(host=host, open_beyond_loopback=True)) is None


def test_the_role_refuses_before_it_listens_or_waits_for_a_ledger() -> None:
    settings = Settings(
        gateway={"host": "0.0.0.0"}, ledger={"url": "postgresql+psycopg://nobody@127.0.0.1:1/x"}
    )
    with pytest.raises(RoleRefused, match="anybody could ask and teach"):
        gateway.run(settings, threading.Event(), Health())


def test_open_access_is_said_at_start(tmp_path: Any) -> None:
    stopping = threading.Event()
    stopping.set()
    settings = Settings(ledger={"url": f"sqlite:///{tmp_path / 'none.db'}"})
    with capture_logs() as logged:
        gateway.run(settings, stopping, Health())
    assert [line["setting"] for line in logged if "access is open" in line["event"]] == ["gateway.access"]


@pytest.mark.parametrize(
    ("changed", "checks_host"),
    [
        ({}, True),
        ({"access": "keys"}, True),
        ({"host": "0.0.0.0", "access": "keys"}, False),
        ({"host": "0.0.0.0", "access": "keys", "hosts": ["gateway.example"]}, True),
        ({"host": "0.0.0.0", "open_beyond_loopback": True}, True),
    ],
)
def test_names_are_checked_wherever_a_page_could_come_by_one(
    changed: dict[str, Any], checks_host: bool
) -> None:
    assert access_of(GatewaySettings(**changed)).rules.checks_host is checks_host
