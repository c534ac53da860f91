"""The four roles: what each opens, which loops it runs, and in which order it lets go.

Heavy imports happen inside the role that needs them: intake must never load torch.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import structlog

from daemon.declaring import BaseMissing, agent_of, hash_of_base
from daemon.learning.engine_loading import EngineRefused, warm_engine
from daemon.process.failpoints import Failpoints
from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.settings import Settings
from daemon.upkeep.capacity import capacity_of
from ledger.database import Database
from ledger.errors import LedgerDamaged, LedgerRefused, LedgerUnavailable
from ledger.learning import agents

if TYPE_CHECKING:
    from daemon.learning.loop import Learner
    from engine.warm_engine import WarmEngine
    from feedback.connection import Cluster
    from feedback.identity import Identity

log = structlog.get_logger(__name__)

START_S_MAX = 300.0
"""How long a role waits for what it needs before it gives up and is started again."""

_RETRY_S = 2.0


def holder() -> str:
    """Who we are in leases. Nobody else's: containers that share a host's name are all process 1."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


@contextmanager
def open_ledger(settings: Settings, stopping: threading.Event, health: Health) -> Iterator[Database]:
    """The ledger, at the newest schema. Waits for it, not ready meanwhile; raises when it stays away."""
    database = Database(settings.ledger.url)
    waited_s = 0.0
    while True:
        try:
            database.migrate()
            break
        except LedgerUnavailable as fault:
            health.ready("ledger", False, str(fault))
            log.warning("ledger away, waiting", fault=str(fault), waited_s=waited_s)
            waited_s += _RETRY_S
            if stopping.wait(_RETRY_S) or waited_s > START_S_MAX:
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
    on = _hash_of_base(settings)
    for name, agent in settings.agents.items():
        try:
            if agents.declare(database, agent_of(name, agent, on)):
                log.info("agent declared", agent=name, base=on[:12])
        except ValueError as refusal:
            raise RoleRefused(f"agents.{name}: {refusal}") from None


def await_agents(settings: Settings, database: Database, stopping: threading.Event, health: Health) -> bool:
    """The ledger knows every agent of the settings: events of unknown ones would be dead letters. False once
    told to stop.

    Only who has the base can declare an agent. Where it is here that is done; intake on a machine of its own
    waits for the learner or the fleet role, and Kafka keeps the events.
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
        if stopping.wait(_RETRY_S):
            return False


def _hash_of_base(settings: Settings) -> str:
    try:
        return hash_of_base(settings.engine.base, settings.store.path)
    except BaseMissing as missing:
        raise RoleRefused(str(missing)) from None


def learner(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Lease the agents whose feedback is due and teach them, on the one accelerator this role owns."""
    with open_ledger(settings, stopping, health) as database:
        declare_agents(settings, database)
        health.ready("engine", False, "loading the base model")
        try:
            engine = warm_engine(settings.engine)
        except EngineRefused as refusal:
            raise RoleRefused(str(refusal)) from None
        health.ready("engine", True)
        from daemon.learning.loop import learn

        learn(_learner(settings, database, engine, health), stopping)


def _learner(settings: Settings, database: Database, engine: "WarmEngine", health: Health) -> "Learner":
    from daemon.learning.loop import STEP_S_MAX, Learner, LearnerOptions
    from daemon.learning.planning import TurnLimits
    from daemon.learning.scheduler import freshness_of

    learning = settings.learning
    return Learner(
        database=database,
        engine=engine,
        store=settings.store.path,
        holder=holder(),
        options=LearnerOptions(
            freshness=freshness_of(settings),
            limits=TurnLimits(
                new_max=learning.events_max,
                replay_max=learning.replay_max,
                anchors_max=learning.anchors_max,
                refusals_max=learning.refusals_max,
            ),
            slots=settings.engine.slots,
            gather_s=learning.gather_s,
        ),
        failpoint=Failpoints(settings.failpoint),
        alive=lambda: health.alive("learner", age_s_max=STEP_S_MAX),
        no_disk=capacity_of(settings, database).no_disk,
    )


def intake(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Move what Kafka delivers into the ledger. Needs no model and waits for none."""
    from feedback.identity import ensure_identity
    from feedback.intake import Fenced, Intake
    from feedback.placing import IntakeOptions, WrongLedger
    from feedback.reading import Reader
    from feedback.redaction import Redactor

    with open_ledger(settings, stopping, health) as database:
        if not await_agents(settings, database, stopping, health):
            return
        identity = ensure_identity(database)
        kafka = settings.kafka
        loop = Intake(
            cluster_of(settings),
            database,
            identity,
            Reader(identity, Redactor(identity.fingerprint)),
            IntakeOptions(
                group=kafka.group,
                instance=kafka.instance_id,
                first_start=kafka.first_start,
                on_gap=kafka.on_gap,
                records_max=kafka.records_max,
                join_s_max=kafka.join_s_max,
                administrators=settings.ledger.administrators,
            ),
            watch=health,
            full=capacity_of(settings, database),
            reached=Failpoints(settings.failpoint),
        )
        try:
            loop.run(stopping)
        except (WrongLedger, Fenced) as refusal:
            raise RoleRefused(f"kafka: {refusal}") from None


def cluster_of(settings: Settings) -> "Cluster":
    """How this installation reaches Kafka."""
    from feedback.connection import Kafka

    try:
        return Kafka(bootstrap_servers=settings.kafka.bootstrap_servers, options=settings.kafka.options)
    except ValueError as refusal:
        raise RoleRefused(f"kafka.options: {refusal}") from None


def fleet(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Lead the fleet, or stand by: replicas, judging, swaps, the outbox, the ledger's vitals, retention."""
    from daemon.learning.scheduler import freshness_of
    from daemon.upkeep import retention
    from daemon.upkeep.ledger_metrics import record_ledger_metrics
    from feedback import outbox
    from feedback.identity import ensure_identity
    from feedback.redaction import Found, Redactor
    from serving.fleet.evidence import Asking
    from serving.fleet.gate import GateLimits
    from serving.fleet.judging import JudgingOptions
    from serving.fleet.leader import FleetOptions, fleet_of, run_fleet
    from serving.fleet.reconciler import ReplicaOptions
    from serving.fleet.suite import suite_questions

    with open_ledger(settings, stopping, health) as database:
        declare_agents(settings, database)
        identity = ensure_identity(database)
        redactor = Redactor(identity.fingerprint)
        failpoint = Failpoints(settings.failpoint)
        gate = settings.gate
        led = fleet_of(
            database,
            settings.fleet.replicas,
            FleetOptions(
                store=settings.store.path,
                base_hash=_hash_of_base(settings),
                holder=holder(),
                # A second more than the longest answer: routing must have moved before anything is unloaded.
                replica=ReplicaOptions(
                    adapters_max=settings.fleet.adapters_max,
                    unload_after_s=settings.fleet.request_s_max + 1.0,
                ),
                judging=JudgingOptions(
                    limits=GateLimits(alpha=gate.alpha, kl_nats_max=gate.kl_nats_max),
                    asking=Asking(tokens_max=gate.answer_tokens_max, in_flight_max=gate.in_flight_max),
                ),
            ),
            suite=lambda connection, candidate: suite_questions(connection, candidate, limit=gate.suite_max),
            redact=lambda text: redactor.text(text, Found()),
            health=health,
            reached=failpoint,
        )
        publisher = outbox.Publisher(cluster_of(settings), identity.ledger_id)
        days = settings.ledger.interactions_days
        run_fleet(
            led,
            stopping,
            also={
                "outbox": lambda over: outbox.run(database, publisher, over, reached=failpoint),
                "retention": lambda over: retention.run(database, days, over),
                "vitals": lambda over: record_ledger_metrics(database, freshness_of(settings), over),
            },
        )


def gateway(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Answer users through the replicas. Reads the ledger, writes nothing to it."""
    from feedback.producer import Producer
    from feedback.redaction import Redactor
    from serving.gateway.app import Gateway, GatewayOptions, run_gateway
    from serving.gateway.feedback_endpoint import FeedbackEndpoint
    from serving.gateway.recorder import Recorder
    from serving.gateway.routing import RoutingTable

    with closing(Database(settings.ledger.url)) as database:
        identity = _wait_for_identity(database, stopping, health)
        if identity is None:
            return
        redactor = Redactor(identity.fingerprint)
        options = settings.gateway
        producer = Producer(cluster_of(settings))
        try:
            run_gateway(
                Gateway(
                    table=RoutingTable(database),
                    recorder=Recorder(producer.send, redactor, share=options.capture_share),
                    feedback=FeedbackEndpoint(producer.send, redactor),
                    options=GatewayOptions(
                        host=options.host,
                        port=options.port,
                        request_s_max=settings.fleet.request_s_max,
                        shutdown_delay_s=options.leave_s,
                    ),
                ),
                stopping,
                health,
            )
        except OSError:
            raise RoleRefused(f"gateway.port: {options.host}:{options.port} cannot be listened on") from None
        finally:
            producer.close()


def _wait_for_identity(database: Database, stopping: threading.Event, health: Health) -> "Identity | None":
    """The ledger's identity; None once told to stop. A gateway without it could not redact as intake does."""
    from feedback.identity import known_identity

    began_s = time.monotonic()
    while time.monotonic() - began_s < START_S_MAX:
        try:
            identity = known_identity(database)
        except LedgerDamaged:
            raise
        except (LedgerUnavailable, LedgerRefused) as fault:
            identity, why = None, str(fault)
        else:
            why = "no role has opened the ledger yet"
        health.ready("ledger", identity is not None, "" if identity else why)
        if identity is not None or stopping.wait(_RETRY_S / 4):
            return identity
    raise LedgerUnavailable(f"not there for {START_S_MAX:.0f} s")
