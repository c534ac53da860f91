"""Security options mean what they say: an option that would silently mean less is refused by name."""

import ssl
from typing import Any

import pytest
from kafka import errors

from feedback.connection import Kafka
from feedback.kafka_security import AccessRefused, fault_reason

SASL = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "intake",
    "sasl_plain_password": "hunter2",
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"security_protocol": "SASL_TLS"}, "security_protocol must be one of PLAINTEXT, SSL"),
        ({"security_protocol": "sasl_ssl"}, "security_protocol must be one of"),
        ({"security_protocol": "SSL"}, "sasl_mechanism is given, and security_protocol SSL does not use it"),
        ({"security_protocol": "SASL_PLAINTEXT", "ssl_cafile": "ca.pem"}, "ssl_cafile is given"),
        ({"sasl_mechanism": "SCRAM"}, "sasl_mechanism must be one of PLAIN, SCRAM-SHA-256"),
        ({"sasl_mechanism": "OAUTHBEARER"}, "sasl_mechanism must be one of"),
        ({"sasl_plain_password": ""}, "sasl_mechanism SCRAM-SHA-512 needs sasl_plain_password"),
        ({"sasl_plain_password": 123456}, "sasl_plain_password, ssl_password must be texts"),
    ],
)
def test_options_that_would_mean_less_than_they_say_are_refused(
    changed: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=r"must be|is given|needs") as refused:
        Kafka(bootstrap_servers="b:1", options=SASL | changed)
    assert expected in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "123456" not in str(refused.value)


def test_options_without_a_protocol_that_uses_them_are_refused() -> None:
    with pytest.raises(ValueError, match="security_protocol PLAINTEXT does not use it"):
        Kafka(bootstrap_servers="b:1", options={"sasl_plain_password": "hunter2"})


def test_a_password_is_not_in_the_repr_of_a_cluster() -> None:
    assert "hunter2" not in repr(Kafka(bootstrap_servers="b:1", options=SASL))


def test_the_reason_names_what_a_person_must_act_on_and_quotes_nobody() -> None:
    refused = errors.SaslAuthenticationFailedError("user intake at 10.0.0.1 said hunter2")
    assert fault_reason(refused) == "SASL: the broker refuses this user and password"
    assert fault_reason(AccessRefused("TLS: so")) == "TLS: so"
    assert fault_reason(errors.KafkaTimeoutError("10.0.0.1")) == "KafkaTimeoutError"
    untrusted = ssl.SSLCertVerificationError(1, "certificate verify failed")
    untrusted.verify_message = "certificate has expired"
    handshake = errors.KafkaConnectionError("Handshake failed")
    handshake.__context__ = untrusted
    assert fault_reason(handshake) == "TLS: the broker's certificate is not trusted: certificate has expired"
