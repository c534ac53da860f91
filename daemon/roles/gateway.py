"""The gateway role: answers users through the replicas. It reads the ledger and writes nothing to it."""

import threading
import time
from concurrent.futures import Future
from contextlib import closing

import structlog

from daemon.limit_settings import LimitSettings
from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.roles.startup import RETRY_S, START_S_MAX, cluster_of
from daemon.setting_checks import is_loopback
from daemon.settings import GatewaySettings, Settings
from feedback.event_record import signed_record
from feedback.producer import KafkaRecord, Producer, Sent
from feedback.redaction_process import ProcessRedactor
from feedback.signing import gateway_key
from feedback.tracing import name_ledger
from ledger.database import Database
from ledger.errors import LedgerDamaged, LedgerRefused, LedgerUnavailable
from ledger.identity import Identity, known_identity
from serving.gateway.access.authentication import AuthenticationOptions
from serving.gateway.access.control import AccessOptions
from serving.gateway.access.origins import OriginRules
from serving.gateway.app import Gateway, GatewayOptions, run_gateway
from serving.gateway.edge.limits import KIB, MIB, GatewayLimits
from serving.gateway.edge.request_fields import FieldRules
from serving.gateway.feedback_endpoint import FeedbackEndpoint
from serving.gateway.live_counter import LiveCounter
from serving.gateway.recorder import Recorder
from serving.gateway.routing import RoutingTable
from serving.sampling_defaults import read_sampling_defaults

log = structlog.get_logger(__name__)

CAPTURES_LINGER_S = 0.05
"""Seconds that captures and counts wait for others: many then share one request to Kafka."""

CLOSE_S_MAX = 5.0
"""Seconds in which each producer sends what it still has, once the gateway has ended."""


def run(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Answer requests until told to stop; then refuse new ones and finish those in flight.

    Raises `RoleRefused` where the port is taken, or open to others without their knowing.
    """
    if (fault := openness_fault(settings.gateway)) is not None:
        raise RoleRefused(fault)
    if settings.gateway.access == "open":
        log.warning(
            "access is open: whoever reaches the gateway may ask, and feedback says itself whose it is",
            host=settings.gateway.host,
            setting="gateway.access",
        )
    with closing(Database(settings.ledger.url)) as database:
        identity = _wait_for_identity(database, stopping, health)
        if identity is None:
            return
        name_ledger(identity.ledger_id)
        redactor = ProcessRedactor(identity.fingerprint)
        options = settings.gateway
        producer = Producer(cluster_of(settings))  # of feedback, whose clients wait until Kafka has it
        captures = Producer(cluster_of(settings), linger_s=CAPTURES_LINGER_S)
        key = gateway_key(identity)

        def send(record: KafkaRecord) -> Future[Sent]:
            return captures.send(signed_record(record, key))

        try:
            run_gateway(
                Gateway(
                    table=RoutingTable(database),
                    recorder=Recorder(
                        send,
                        redactor,
                        share=options.capture_share,
                        bytes_max=options.limits.captures_mib_max * MIB,
                    ),
                    live=LiveCounter(send, identity.fingerprint),
                    feedback=FeedbackEndpoint(producer.send, redactor, key),
                    options=GatewayOptions(
                        host=options.host,
                        port=options.port,
                        limits=limits_of(options.limits),
                        access=access_of(options),
                        fields=fields_of(options),
                        request_s_max=settings.fleet.request_s_max,
                        shutdown_delay_s=options.leave_s,
                        api_keys=settings.fleet.replica_keys(),
                        sampling_defaults=read_sampling_defaults(settings.engine.base),
                    ),
                ),
                stopping,
                health,
            )
        except OSError:
            raise RoleRefused(f"gateway.port: {options.host}:{options.port} cannot be listened on") from None
        finally:
            for each in (producer, captures):
                each.close(wait_s_max=CLOSE_S_MAX)
            redactor.close()


def access_of(settings: GatewaySettings) -> AccessOptions:
    """Who may come, by which names and from which pages."""
    listens_here_only, hosts = is_loopback(settings.host), settings.hosts | {settings.host.lower()}
    return AccessOptions(
        authentication=AuthenticationOptions(
            access=settings.access,
            author_header=settings.author_header,
            trusted_proxies=tuple(settings.trusted_proxies),
        ),
        rules=OriginRules(
            checks_host=listens_here_only or settings.access == "open" or bool(settings.hosts),
            is_loopback=listens_here_only,
            hosts=hosts,
            origins=settings.origins,
        ),
    )


def openness_fault(settings: GatewaySettings) -> str | None:
    """What is wrong where other machines need no key and nobody said that on purpose; None: nothing."""
    if settings.access == "keys" or is_loopback(settings.host) or settings.open_beyond_loopback:
        return None
    return (
        f"gateway.access is open and gateway.host is {settings.host}: anybody could ask and teach. Set"
        ' gateway.access = "keys" (`clorad keys create` makes them), or on purpose'
        " gateway.open_beyond_loopback = true"
    )


def limits_of(settings: LimitSettings) -> GatewayLimits:
    """The same bounds in bytes."""
    return GatewayLimits(
        body_bytes_max=settings.body_kib_max * KIB,
        bodies_bytes_max=settings.bodies_mib_max * MIB,
        large_bytes_per_s_max=settings.large_mib_per_s_max * MIB,
        depth_max=settings.depth_max,
        values_max=settings.values_max,
        requests_max=settings.requests_max,
        answer_bytes_max=settings.answer_mib_max * MIB,
        answers_bytes_max=settings.answers_mib_max * MIB,
        header_bytes_max=settings.header_kib_max * KIB,
        headers_max=settings.headers_max,
        header_s_max=settings.header_s_max,
        body_s_max=settings.body_s_max,
        idle_s_max=settings.idle_s_max,
        connections_max=settings.connections_max,
        requests_per_s_max=settings.requests_per_s_max,
    )


def fields_of(settings: GatewaySettings) -> FieldRules:
    """Which fields of requests pass."""
    return FieldRules(
        added=frozenset(settings.fields_allowed),
        others=settings.fields_other,
        media_hosts=frozenset(host.lower() for host in settings.media_hosts),
        choices_max=settings.limits.choices_max,
    )


def _wait_for_identity(database: Database, stopping: threading.Event, health: Health) -> Identity | None:
    """The ledger's identity, which a gateway needs to redact as intake does. None: it was told to stop."""
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
        if identity is not None or stopping.wait(RETRY_S / 4):
            return identity
    raise LedgerUnavailable(f"not there for {START_S_MAX:.0f} s")
