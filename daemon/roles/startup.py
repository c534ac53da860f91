"""Prepares a role before its loops run: the ledger at the newest schema, declared agents, Kafka's address.

A role waits for what another role or another machine must provide first, and is not ready meanwhile.
"""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from daemon.declaring import BaseMissing, agent_of, hash_of_base
from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.settings import Settings
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.learning import agents

if TYPE_CHECKING:
    from feedback.connection import Cluster

log = structlog.get_logger(__name__)

START_S_MAX = 300.0
"""Seconds that a role waits for the ledger before it ends and is started again."""

RETRY_S = 2.0
"""Pause before a role looks again for what it waits for."""


def lease_holder() -> str:
    """A name for this process in leases, random in part: in containers every process has number 1."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


@contextmanager
def open_ledger(settings: Settings, stopping: threading.Event, health: Health) -> Iterator[Database]:
    """The ledger at the newest schema. Raises `LedgerUnavailable` if it stays away for `START_S_MAX`."""
    database = Database(settings.ledger.url)
    waited_s = 0.0
    while True:
        try:
            database.migrate()
            break
        except LedgerUnavailable as fault:
            health.ready("ledger", False, str(fault))
            log.warning("role waits for the ledger", fault=str(fault), waited_s=waited_s)
            waited_s += RETRY_S
            if stopping.wait(RETRY_S) or waited_s > START_S_MAX:
                raise
    health.ready("ledger", True)
    try:
        yield database
    finally:
        database.close()


def declare_agents(settings: Settings, database: Database) -> None:
    """Copy the agents' settings into the ledger; from then on the ledger decides."""
    if not settings.agents:
        return
    base_hash = configured_base_hash(settings)
    for name, agent in settings.agents.items():
        try:
            if agents.declare(database, agent_of(name, agent, base_hash)):
                log.info("agent declared", agent=name, base=base_hash[:12])
        except ValueError as refusal:
            raise RoleRefused(f"agents.{name}: {refusal}") from None


def await_agents(settings: Settings, database: Database, stopping: threading.Event, health: Health) -> bool:
    """Wait until the ledger knows every agent of the settings. Returns False when the role was told to stop.

    Events of unknown agents would become dead letters. Only a machine that holds the base can declare an
    agent: this one does where it holds it; else intake waits for the learner or the fleet role, and Kafka
    keeps the events meanwhile.
    """
    while True:
        try:
            with database.read() as connection:
                unknown = settings.agents.keys() - agents.all_agents(connection).keys()
            health.ready("ledger", True)
        except LedgerUnavailable as fault:
            health.ready("ledger", False, str(fault))
        else:
            if unknown and settings.engine.base.is_dir():
                declare_agents(settings, database)
                unknown = set()
            why = f"the learner or the fleet role must declare {', '.join(sorted(unknown))}"
            health.ready("agents", not unknown, why if unknown else "")
            if not unknown:
                return True
        health.alive("intake")
        if stopping.wait(RETRY_S):
            return False


def configured_base_hash(settings: Settings) -> str:
    """The hash of the configured base model. Raises `RoleRefused` where its files cannot be read."""
    try:
        return hash_of_base(settings.engine.base, settings.store.path)
    except BaseMissing as missing:
        raise RoleRefused(str(missing)) from None


def cluster_of(settings: Settings, *, bootstrap_ms_max: int | None = None) -> "Cluster":
    """The connection settings of this installation for Kafka. Raises `RoleRefused`.

    `bootstrap_ms_max` bounds the wait for the first answer of a broker; None: as long as roles wait.
    """
    from feedback.connection import Kafka

    try:
        kafka = Kafka(bootstrap_servers=settings.kafka.bootstrap_servers, options=settings.kafka.options)
    except ValueError as refusal:
        raise RoleRefused(f"kafka.options: {refusal}") from None
    return kafka if bootstrap_ms_max is None else replace(kafka, bootstrap_ms_max=bootstrap_ms_max)
