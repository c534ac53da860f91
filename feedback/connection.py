"""Builds this stage's Kafka clients, and knows which of kafka-python's errors mean "wait and try again"."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, errors

from feedback import kafka_patches
from feedback.kafka_security import check_security

ADMIN_MS_MAX = 10_000
METADATA_MS_MAX = 30_000  # kafka-python's default of 5 minutes delays the reading of new partitions
RECONNECT_MS_MAX = 5_000  # kafka-python's default of 30 s delays reading after a broker has come back


class Cluster(Protocol):
    """Builds kafka-python clients for one cluster. The caller's options in `own` win."""

    def consumer(self, **own: Any) -> Any:
        """A `KafkaConsumer`."""

    def producer(self, **own: Any) -> Any:
        """A `KafkaProducer`."""

    def admin(self) -> Any:
        """A `KafkaAdminClient`."""

    def silent_s(self, client: Any) -> float:
        """Seconds since a broker last sent anything to a consumer of this cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """A real cluster. `options` go to every kafka-python client that knows them (TLS, SASL, api_version)."""

    bootstrap_servers: str
    client_id: str = "clorad"
    bootstrap_ms_max: int = 30_000
    options: Mapping[str, Any] = field(repr=False)  # passwords are among them

    def __post_init__(self) -> None:
        unknown = set(self.options).difference(*(client.DEFAULT_CONFIG for client in _CLIENTS))
        if unknown:
            raise ValueError(f"kafka-python knows no option {', '.join(sorted(unknown))}")
        check_security(self.options)
        _check_kinds(self.options)
        _check_version(self.options.get("api_version"))

    def consumer(self, **own: Any) -> Any:
        """A new consumer; raises kafka-python's errors if no broker answers in time."""
        consumer = self._build(KafkaConsumer, own)
        kafka_patches.keep_joins_across_polls(consumer)
        return consumer

    def producer(self, **own: Any) -> Any:
        """A new producer; raises like `consumer`."""
        return self._build(KafkaProducer, own)

    def admin(self) -> Any:
        """A new administration client; raises like `consumer`."""
        # Intake's loop waits for the answers, and must come back to polling.
        return self._build(KafkaAdminClient, {"request_timeout_ms": ADMIN_MS_MAX})

    def silent_s(self, client: Any) -> float:
        """Seconds since a broker last sent anything to a consumer that was built here."""
        return kafka_patches.silent_s(client)

    def _build(self, client_class: Any, own: Mapping[str, Any]) -> Any:
        shared = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "client_id": self.client_id,
            "bootstrap_timeout_ms": self.bootstrap_ms_max,
            "metadata_max_age_ms": METADATA_MS_MAX,
            "reconnect_backoff_max_ms": RECONNECT_MS_MAX,
            # Settings files have no tuples, and kafka-python needs one for api_version.
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in self.options.items()
            },
        }
        known = {name: value for name, value in shared.items() if name in client_class.DEFAULT_CONFIG}
        return kafka_patches.build_client(client_class, {**known, **own})


def _check_kinds(options: Mapping[str, Any]) -> None:
    """Raises `ValueError` for a value of another type than its default: kafka-python notices too late."""
    for name, value in options.items():
        defaults = [client.DEFAULT_CONFIG[name] for client in _CLIENTS if name in client.DEFAULT_CONFIG]
        match next((default for default in defaults if default is not None), None):
            case bool():
                is_like, kind = isinstance(value, bool), "true or false"
            case int() | float():
                is_like, kind = type(value) in (int, float), "a number"
            case str():
                is_like, kind = isinstance(value, str), "a text"
            case _:
                continue  # its default does not say what type it has
        if not is_like and name != "acks":  # a number, or "all"
            raise ValueError(f"{name} must be {kind}{', not a text' if isinstance(value, str) else ''}")


def _check_version(version: Any) -> None:
    parts = version.split(".") if isinstance(version, str) else version
    if parts is None or (isinstance(parts, list | tuple) and all(str(part).isdecimal() for part in parts)):
        return
    raise ValueError('api_version must be like "2.3" or [2, 3]')


_CLIENTS = (KafkaConsumer, KafkaProducer, KafkaAdminClient)


def is_passing(fault: BaseException) -> bool:
    """Whether Kafka may answer later: a fault of the network or the cluster, not of a record."""
    return isinstance(fault, _PASSING) and not isinstance(fault, errors.CorruptRecordError)


_PASSING = (
    errors.RetriableError,
    errors.AuthorizationError,  # a person must act, and then it goes on by itself
    errors.SaslAuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
    errors.CommitFailedError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
    errors.MemberIdRequiredError,
    errors.RebalanceInProgressError,
    errors.InvalidRequestError,  # a late follower's SyncGroup on the mock cluster
    errors.BrokerNotAvailableError,
    errors.UnknownBrokerIdError,
    errors.InconsistentGroupProtocolError,
    errors.UnknownError,  # a broker that shuts down answers so
    OSError,
)
