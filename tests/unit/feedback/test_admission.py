"""Security options are what they seem: what would silently mean less than it says is refused by name."""

import gc
import socket
import ssl
from pathlib import Path

import pytest
from kafka import errors
from kafka.net.transport import KafkaTCPTransport

from deploy.kafka.broker import free_port
from feedback.connection import Kafka
from feedback.kafka_security import NotAdmitted, hear_last_words, why

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
def test_options_that_would_mean_less_than_they_say_are_refused(changed, expected):
    with pytest.raises(ValueError, match=r"must be|is given|needs") as refused:
        Kafka(bootstrap_servers="b:1", options=SASL | changed)
    assert expected in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "123456" not in str(refused.value)


def test_options_without_a_protocol_that_uses_them_are_refused():
    with pytest.raises(ValueError, match="security_protocol PLAINTEXT does not use it"):
        Kafka(bootstrap_servers="b:1", options={"sasl_plain_password": "hunter2"})


def test_a_password_is_no_part_of_what_a_cluster_looks_like():
    assert "hunter2" not in repr(Kafka(bootstrap_servers="b:1", options=SASL))


def test_why_names_what_a_person_must_act_on_and_quotes_nobody():
    refused = errors.SaslAuthenticationFailedError("user intake at 10.0.0.1 said hunter2")
    assert why(refused) == "SASL: the broker refuses this user and password"
    assert why(NotAdmitted("TLS: so")) == "TLS: so"
    assert why(errors.KafkaTimeoutError("10.0.0.1")) == "KafkaTimeoutError"
    untrusted = ssl.SSLCertVerificationError(1, "certificate verify failed")
    untrusted.verify_message = "certificate has expired"
    handshake = errors.KafkaConnectionError("Handshake failed")
    handshake.__context__ = untrusted
    assert why(handshake) == "TLS: the broker's certificate is not trusted: certificate has expired"


def test_what_a_broker_says_as_it_hangs_up_is_heard_before_the_end_is():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        broker, _ = server.accept()
        with client, broker:
            broker.sendall(b"refused, because")
            broker.shutdown(socket.SHUT_RDWR)
            client.setblocking(False)
            transport = KafkaTCPTransport(None, client)
            heard = []
            hear_last_words(transport, lambda: heard.append(True))
            assert transport._sock_recv() == (b"refused, because", None)
            assert isinstance(transport._sock_recv()[1], errors.KafkaConnectionError)
            assert heard == [True], "the end is nothing that a broker says"


def test_refused_connections_leave_no_open_files_to_the_collector():
    nobody = Kafka(bootstrap_servers=f"localhost:{free_port()}", bootstrap_ms_max=1000)
    gc.collect()
    gc.disable()
    try:
        before = open_files()
        with pytest.raises(errors.KafkaTimeoutError):
            nobody.admin()  # tries several times
        assert open_files() == before
    finally:
        gc.enable()


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))
