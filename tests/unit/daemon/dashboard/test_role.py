"""The dashboard role: it does not start open to others, serves until told to stop, and says what it lacks."""

import socket
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from daemon.dashboard import role
from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.settings import Settings
from deploy.kafka.broker import free_port
from tests.unit.ledger.ledger_builder import build_ledger


def build_settings(tmp_path: Path, **dashboard: Any) -> Settings:
    build_ledger(tmp_path / "clorad.db", "billing").close()
    return Settings(ledger={"url": f"sqlite:///{tmp_path / 'clorad.db'}"}, dashboard=dashboard)


def test_beyond_loopback_it_starts_only_with_keys(tmp_path: Path) -> None:
    with pytest.raises(RoleRefused, match=r"dashboard\.access is open"):
        role.run(build_settings(tmp_path, host="0.0.0.0"), threading.Event(), Health())


def test_a_taken_port_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RoleRefused, match=rf"dashboard\.port: 127\.0\.0\.1:{port}"):
            role.run(build_settings(tmp_path, port=port), threading.Event(), Health())


def test_it_answers_until_told_to_stop(tmp_path: Path) -> None:
    port, stopping, health = free_port(), threading.Event(), Health()
    running = threading.Thread(target=role.run, args=(build_settings(tmp_path, port=port), stopping, health))
    running.start()
    try:
        until_s = time.monotonic() + 30
        while not health.readiness()[0] and time.monotonic() < until_s:
            time.sleep(0.02)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/agents", timeout=30) as answer:
            assert b"billing" in answer.read()
    finally:
        stopping.set()
        running.join(30)
    assert not running.is_alive()
    assert health.readiness()[1]["checks"]["pages"]["why"] == "asked to stop"
