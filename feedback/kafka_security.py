"""TLS and SASL towards the brokers: options checked before they are used, and why we were not admitted.

Left alone, kafka-python takes a misspelt protocol for none at all, a password without one for nobody's,
and a bootstrap that every broker refused for one that took too long.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from traceback import clear_frames
from typing import Any

from kafka import errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "AWS_MSK_IAM")
"""Those that text can configure; OAUTHBEARER needs an object that makes tokens."""

_NAMED = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TEXTS = ("sasl_plain_username", "sasl_plain_password", "ssl_password")


class NotAdmitted(errors.KafkaConnectionError):  # type: ignore[misc]
    """The brokers were reached, and refuse us or are not whom we trust. `why` is one line, without secrets.

    A person must act, and then it goes on by itself: certificates are read anew for every connection.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def check_security(options: Mapping[str, Any]) -> None:
    """What is encrypted or authenticated is so as meant. Raises `ValueError`, which repeats no value."""
    protocol = options.get("security_protocol", "PLAINTEXT")
    if protocol not in PROTOCOLS:
        raise ValueError(f"security_protocol must be one of {', '.join(PROTOCOLS)}")
    for prefix, needed in (("sasl_", "SASL"), ("ssl_", "SSL")):
        given = sorted(name for name in options if name.startswith(prefix))
        if given and needed not in protocol:
            raise ValueError(f"{given[0]} is given, and security_protocol {protocol} does not use it")
    if not all(isinstance(options.get(name, ""), str) for name in _TEXTS):
        raise ValueError(f"{', '.join(_TEXTS)} must be texts")
    if "SASL" in protocol:
        _check_mechanism(options)


def why(fault: BaseException) -> str:
    """What keeps Kafka from us, in one line: no address, no password, nothing that a record held."""
    return fault.why if isinstance(fault, NotAdmitted) else _refusal(fault) or type(fault).__name__


def hear_last_words(transport: Any, heard: Callable[[], None] = lambda: None) -> None:
    """What comes together with the end of a connection is read from here on: a broker that refuses us says so
    and hangs up, and kafka-python throws away what it was reading when it meets the end.

    `heard` is told of everything that comes.
    """
    receive: Callable[[], tuple[bytes, Any]] = transport._sock_recv

    def octets_first() -> tuple[bytes, Any]:
        octets, fault = receive()
        if octets:
            heard()
        return octets, None if octets else fault

    transport._sock_recv = octets_first


def let_sockets_go(fault: BaseException | None) -> None:
    """No socket is held by where a connection failed. kafka-python leaves each to the collector of cycles:
    while brokers are away, open files would pile up until that happens to run."""
    while fault is not None:
        clear_frames(fault.__traceback__)
        fault = fault.__context__


class NetClient(KafkaNetClient):  # type: ignore[misc]
    """kafka-python's, but for a bootstrap that ends at once where every broker refuses us."""

    def __init__(self, **configs: Any) -> None:
        net = NetworkSelector(**configs)
        super().__init__(net=net, manager=_Manager(net, **configs))

    @property
    def silent_s(self) -> float:
        """Seconds since any broker has said anything to this client."""
        return time.monotonic() - float(self._manager.heard_s)


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    def __init__(self, net: Any, **configs: Any) -> None:
        super().__init__(net, **configs)
        self.heard_s = time.monotonic()
        self._refused: dict[Any, NotAdmitted] = {}

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        try:
            transport = await super()._build_transport(node, timeout_at=timeout_at)
        except errors.KafkaConnectionError as fault:
            let_sockets_go(fault)
            raise
        hear_last_words(transport, self._heard)
        return transport

    def _heard(self) -> None:
        self.heard_s = time.monotonic()

    async def _connect(self, node: Any, conn: Any, *given: Any, **options: Any) -> None:
        await super()._connect(node, conn, *given, **options)
        self._refused.pop(node.node_id, None)
        if conn.init_future.failed() and (refusal := _refusal(conn.init_future.exception)):
            self._refused[node.node_id] = NotAdmitted(refusal)
        bootstrap = {broker.node_id for broker in self.cluster.bootstrap_brokers()}
        if bootstrap <= self._refused.keys():
            self._auth_failures |= self._refused  # the next `get_connection` raises it


def _check_mechanism(options: Mapping[str, Any]) -> None:
    mechanism = options.get("sasl_mechanism")
    if mechanism not in MECHANISMS:
        raise ValueError(f"sasl_mechanism must be one of {', '.join(MECHANISMS)}")
    for name in ("sasl_plain_username", "sasl_plain_password"):
        if mechanism in _NAMED and not options.get(name):
            raise ValueError(f"sasl_mechanism {mechanism} needs {name}")


def _refusal(fault: BaseException) -> str:
    """Why a broker and we do not know each other; empty where the fault is about something else."""
    if isinstance(fault, errors.SaslAuthenticationFailedError):
        return "SASL: the broker refuses this user and password"
    if isinstance(fault, errors.UnsupportedSaslMechanismError):
        return "SASL: the broker does not offer this sasl_mechanism"
    if isinstance(fault, FileNotFoundError | PermissionError):
        return f"TLS: {fault.strerror}: a file of kafka.options"
    found = [one for one in (fault, fault.__context__, *fault.args) if isinstance(one, ssl.SSLError)]
    return f"TLS: {_tls_reason(found[0])}" if found else ""


def _tls_reason(fault: ssl.SSLError) -> str:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not trusted: {fault.verify_message}"
    return (fault.reason or type(fault).__name__).replace("_", " ").lower()
