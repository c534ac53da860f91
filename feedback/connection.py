"""How clients of this stage reach Kafka, and which of kafka-python's complaints mean "wait and try again".

`extra` passes any further kafka-python option through (TLS, SASL, timeouts) to every client that knows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, errors


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """Where the cluster is and how to speak to it."""

    bootstrap_servers: str
    client_id: str = "clorad"
    bootstrap_ms_max: int = 30_000
    extra: Mapping[str, Any] = field(default_factory=dict)

    def of(self, client: type[Any]) -> dict[str, Any]:
        """The options `client` understands. Raises `ValueError` for those that no client does."""
        unknown = set(self.extra) - _known(KafkaConsumer) - _known(KafkaProducer) - _known(KafkaAdminClient)
        if unknown:
            raise ValueError(f"kafka-python knows no option {', '.join(sorted(unknown))}")
        own = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "client_id": self.client_id,
            "bootstrap_timeout_ms": self.bootstrap_ms_max,
            "allow_auto_create_topics": False,
            **self.extra,
        }
        return {name: value for name, value in own.items() if name in _known(client)}


def _known(client: type[Any]) -> set[str]:
    return set(client.DEFAULT_CONFIG)


def is_passing(fault: BaseException) -> bool:
    """Whether Kafka may well answer later: the world's fault, never the record's."""
    return isinstance(fault, _PASSING) and not isinstance(fault, errors.CorruptRecordError)


def is_refusal(fault: BaseException) -> bool:
    """Whether Kafka will not have us until a person changes something: try on, and raise an alarm."""
    return isinstance(fault, _REFUSALS)


_REFUSALS = (
    errors.AuthorizationError,
    errors.SaslAuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
    errors.SecurityDisabledError,
)

_PASSING = (
    *_REFUSALS,
    errors.RetriableError,
    errors.CommitFailedError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
    errors.MemberIdRequiredError,
    errors.RebalanceInProgressError,
    errors.InvalidRequestError,  # a late follower's SyncGroup on the mock cluster
    errors.BrokerNotAvailableError,
    errors.UnknownBrokerIdError,
    errors.InconsistentGroupProtocolError,
    errors.UnknownError,  # what a broker says while it shuts down
    OSError,
)
