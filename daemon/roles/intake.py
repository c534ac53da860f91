"""The intake role: reads feedback from Kafka and stores it in the ledger. It needs no model."""

import threading

from daemon.process.failpoints import Failpoints
from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.roles.startup import await_agents, cluster_of, open_ledger
from daemon.settings import KafkaSettings, Settings
from daemon.signers import trusted_signers
from daemon.upkeep.capacity import build_capacity
from feedback.intake import Fenced, Intake
from feedback.intake_options import IntakeOptions
from feedback.placement import WrongLedger
from feedback.reading import Reader
from feedback.redaction import Redactor
from ledger.identity import ensure_identity


def run(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Store what Kafka delivers in the ledger until told to stop."""
    with open_ledger(settings, stopping, health) as database:
        if not await_agents(settings, database, stopping, health):
            return
        identity = ensure_identity(database)
        loop = Intake(
            cluster_of(settings),
            database,
            identity,
            Reader(identity, Redactor(identity.fingerprint), trusted_signers(settings.feedback, identity)),
            intake_options(
                settings.kafka,
                administrators=settings.ledger.administrators,
                unsigned_captures=settings.feedback.unsigned_captures,
            ),
            health=health,
            full=build_capacity(settings, database),
            reached=Failpoints(settings.failpoint),
        )
        try:
            loop.run(stopping)
        except (WrongLedger, Fenced) as refusal:
            raise RoleRefused(f"kafka: {refusal}") from None


def intake_options(
    kafka: KafkaSettings, *, administrators: frozenset[str], unsigned_captures: bool
) -> IntakeOptions:
    """Intake's options in these settings."""
    return IntakeOptions(
        group=kafka.group,
        instance=kafka.instance_id,
        first_start=kafka.first_start,
        on_gap=kafka.on_gap,
        records_max=kafka.records_max,
        join_s_max=kafka.join_s_max,
        administrators=administrators,
        unsigned_captures=unsigned_captures,
    )
