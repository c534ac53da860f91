"""What roles wait for: intake needs no base, but the ledger must know the agents of its settings."""

import threading
from pathlib import Path

import pytest

from daemon.declaring import MEMORY
from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.roles import startup
from daemon.settings import Settings
from engine import file_hash_cache
from ledger.database import Database
from ledger.learning.agents import Agent, all_agents, declare
from tests.unit.ledger.ledger_builder import build_ledger


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(startup, "RETRY_S", 0.01)
    return Settings.model_validate(
        {
            "engine": {"base": str(tmp_path / "base")},
            "store": {"path": str(tmp_path / "store")},
            "agents": {"billing": {"scorer": "exact"}, "sql": {"scorer": "exact"}},
        }
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Database:
    return build_ledger(tmp_path / "clorad.db")


def known(database: Database) -> set[str]:
    with database.read() as connection:
        return set(all_agents(connection))


def test_without_a_base_it_waits_for_who_has_one(settings: Settings, ledger: Database) -> None:
    health, stopping, ends = Health(), threading.Event(), list[bool]()
    waiting = threading.Thread(
        target=lambda: ends.append(startup.await_agents(settings, ledger, stopping, health))
    )
    waiting.start()
    declare(ledger, Agent(name="billing", base_hash="b" * 64))
    while "learner or the fleet role must declare sql" not in str(health.readiness()):
        assert waiting.is_alive()
    declare(ledger, Agent(name="sql", base_hash="b" * 64))
    waiting.join(timeout=10.0)
    assert ends == [True]
    assert health.readiness()[0]


def test_told_to_stop_it_waits_no_longer(settings: Settings, ledger: Database) -> None:
    stopping = threading.Event()
    stopping.set()
    assert not startup.await_agents(settings, ledger, stopping, Health())


def test_where_the_base_is_it_declares_them_and_keeps_what_it_read(
    settings: Settings, ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hash_cache, "UNCHANGED_S_MIN", -3600.0)  # as if unchanged for an hour
    settings.engine.base.mkdir()
    (settings.engine.base / "config.json").write_text("{}")
    (settings.engine.base / "model.safetensors").write_bytes(b"weights")
    assert startup.await_agents(settings, ledger, threading.Event(), Health())
    assert known(ledger) == {"billing", "sql"}
    assert (settings.store.path / MEMORY).is_file()


def test_a_base_that_is_none_is_refused_by_name(settings: Settings, ledger: Database) -> None:
    settings.engine.base.mkdir()
    with pytest.raises(RoleRefused, match="holds no"):
        startup.await_agents(settings, ledger, threading.Event(), Health())


def test_agents_the_ledger_knows_need_no_base(settings: Settings, ledger: Database) -> None:
    for name in settings.agents:
        declare(ledger, Agent(name=name, base_hash="b" * 64))
    settings.engine.base.mkdir()  # empty: to hash it would be refused
    assert startup.await_agents(settings, ledger, threading.Event(), Health())


def test_processes_of_one_number_on_one_host_name_are_two_holders_of_leases() -> None:
    assert startup.lease_holder() != startup.lease_holder(), "in containers every process has number 1"
