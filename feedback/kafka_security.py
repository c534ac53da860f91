"""Checks TLS and SASL options before kafka-python gets them, and gives the reason why a broker refuses
clorad.

kafka-python alone treats a misspelt protocol as PLAINTEXT and a missing password as an empty one.
"""

import ssl
from collections.abc import Mapping
from typing import Any

from kafka import errors

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "AWS_MSK_IAM")
"""Those that text can configure; OAUTHBEARER needs an object that makes tokens."""

_WITH_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TEXTS = ("sasl_plain_username", "sasl_plain_password", "ssl_password")


class AccessRefused(errors.KafkaConnectionError):  # type: ignore[misc]
    """Every broker answers, and refuses clorad or has a certificate that is not trusted.

    `reason` is one line without secrets. A person must act; the next connection reads certificates anew, so
    no restart is needed for those.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_security(options: Mapping[str, Any]) -> None:
    """Raises `ValueError` if an option would have no effect, or another one than its name says.

    The message repeats no value.
    """
    protocol = options.get("security_protocol", "PLAINTEXT")
    if protocol not in PROTOCOLS:
        raise ValueError(f"security_protocol must be one of {', '.join(PROTOCOLS)}")
    for prefix, needed in (("sasl_", "SASL"), ("ssl_", "SSL")):
        names = sorted(name for name in options if name.startswith(prefix))
        if names and needed not in protocol:
            raise ValueError(f"{names[0]} is given, and security_protocol {protocol} does not use it")
    if not all(isinstance(options.get(name, ""), str) for name in _TEXTS):
        raise ValueError(f"{', '.join(_TEXTS)} must be texts")
    if "SASL" in protocol:
        _check_mechanism(options)


def fault_reason(fault: BaseException) -> str:
    """The reason why Kafka cannot be used, in one line without addresses, passwords or parts of records."""
    if isinstance(fault, AccessRefused):
        return fault.reason
    return refusal_reason(fault) or type(fault).__name__


def refusal_reason(fault: BaseException) -> str:
    """Why broker and client do not accept each other; empty if the fault is about something else."""
    if isinstance(fault, errors.SaslAuthenticationFailedError):
        return "SASL: the broker refuses this user and password"
    if isinstance(fault, errors.UnsupportedSaslMechanismError):
        return "SASL: the broker does not offer this sasl_mechanism"
    if isinstance(fault, FileNotFoundError | PermissionError):
        return f"TLS: {fault.strerror}: a file of kafka.options"
    tls_faults = [
        cause for cause in (fault, fault.__context__, *fault.args) if isinstance(cause, ssl.SSLError)
    ]
    return f"TLS: {_tls_reason(tls_faults[0])}" if tls_faults else ""


def _tls_reason(fault: ssl.SSLError) -> str:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not trusted: {fault.verify_message}"
    return (fault.reason or type(fault).__name__).replace("_", " ").lower()


def _check_mechanism(options: Mapping[str, Any]) -> None:
    mechanism = options.get("sasl_mechanism")
    if mechanism not in MECHANISMS:
        raise ValueError(f"sasl_mechanism must be one of {', '.join(MECHANISMS)}")
    for name in ("sasl_plain_username", "sasl_plain_password"):
        if mechanism in _WITH_PASSWORD and not options.get(name):
            raise ValueError(f"sasl_mechanism {mechanism} needs {name}")
