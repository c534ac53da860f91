"""Checks TLS and SASL options before kafka-python gets them, and says why a broker refuses us.

kafka-python alone takes a misspelt protocol for PLAINTEXT and a missing password for an empty one.
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
    """Every broker was reached, and refuses us or shows a certificate we do not trust.

    `reason` is one line without secrets. A person must act; the next connection reads certificates anew, so
    no restart is needed for those.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_security(options: Mapping[str, Any]) -> None:
    """Raises `ValueError` where an option would have no effect or another one than its name says.

    The message repeats no value.
    """
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


def fault_reason(fault: BaseException) -> str:
    """Why Kafka cannot be used, in one line: no address, no password, nothing of a record."""
    if isinstance(fault, AccessRefused):
        return fault.reason
    return refusal_reason(fault) or type(fault).__name__


def refusal_reason(fault: BaseException) -> str:
    """Why a broker and we do not accept each other; empty where the fault is about something else."""
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
