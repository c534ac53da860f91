"""A broker with TLS and SASL ports, and a plain port for the test.

Certificates are made with the JDK's keytool, which is there wherever the broker can run.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.admin import UserScramCredentialUpsertion as Upsertion

from deploy.kafka.broker import LocalBroker, free_port, needed
from tests.kafka_broker import RealKafka

USER = "intake"
PASSWORD = "correct-horse-battery"
_STORE_PASSWORD = "not-a-secret"
_MODULES = "org.apache.kafka.common.security"


class Secured:
    """One broker with a port for each protocol. `admin` reaches it without a password."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.trusted = folder / "trusted.pem"
        ports = {name: free_port() for name in ("PLAINTEXT", "SSL", "SASL_SSL", "CONTROLLER")}
        self._ports = ports
        self.renew_certificate()
        self.broker = LocalBroker(folder / "broker", ports["PLAINTEXT"], properties=self._properties())

    @property
    def admin(self) -> RealKafka:
        return RealKafka(self.broker.bootstrap)

    def through(self, protocol: str) -> RealKafka:
        """The port of that protocol; clients of it need `options`."""
        return RealKafka(f"127.0.0.1:{self._ports[protocol]}")

    def options(self, mechanism: str | None = None, **changed: Any) -> dict[str, Any]:
        """The options of a client: TLS, and a password where a mechanism is named."""
        options: dict[str, Any] = {"security_protocol": "SSL", "ssl_cafile": str(self.trusted)}
        if mechanism:
            named = {"sasl_plain_username": USER, "sasl_plain_password": PASSWORD}
            options |= {"security_protocol": "SASL_SSL", "sasl_mechanism": mechanism} | named
        return options | changed

    def renew_certificate(self, *, trust: bool = True, days: tuple[int, int] = (-1, 3)) -> Path:
        """The broker shows another certificate once it is started again. Returns it as a PEM file."""
        store = self._folder / "broker.p12"
        store.unlink(missing_ok=True)
        given = {"ext": "san=ip:127.0.0.1", "startdate": f"{days[0]}d", "validity": str(days[1] - days[0])}
        _keytool("-genkeypair", store, dname="CN=broker", keyalg="EC", groupname="secp256r1", **given)
        shown = self._folder / "shown.pem"
        _keytool("-exportcert", store, "-rfc", file=str(shown))
        if trust:
            self.trusted.write_text(shown.read_text())
        return shown

    def set_password(self, password: str, *mechanisms: str) -> None:
        """The user has that password for SCRAM from now on; open connections stay open."""
        admin = self.admin.cluster.admin()
        try:
            wanted = [Upsertion(USER, mechanism, password) for mechanism in mechanisms]
            for change in wanted:  # Kafka takes one change a user and request
                assert admin.alter_user_scram_credentials([change]) == {USER: None}
        finally:
            admin.close()

    def forbid(self, topic: str) -> None:
        """The user may not read that topic any more."""
        self._change("create_acls", topic)

    def allow(self, topic: str) -> None:
        self._change("delete_acls", topic)

    def _change(self, verb: str, topic: str) -> None:
        denied = ACL(
            principal=f"User:{USER}",
            host="*",
            operation=ACLOperation.READ,
            permission_type=ACLPermissionType.DENY,
            resource_pattern=ResourcePattern(ResourceType.TOPIC, topic),
        )
        admin = self.admin.cluster.admin()
        try:
            getattr(admin, verb)([denied])
        finally:
            admin.close()

    def _properties(self) -> Mapping[str, str]:
        plain = f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        scram = f"{_MODULES}.scram.ScramLoginModule required;"
        listeners = {name: f"{name}://127.0.0.1:{port}" for name, port in self._ports.items()}
        protocols = {name: "PLAINTEXT" if name == "CONTROLLER" else name for name in listeners}
        return {
            "listeners": ",".join(listeners.values()),
            "advertised.listeners": ",".join(url for name, url in listeners.items() if name != "CONTROLLER"),
            "controller.quorum.voters": f"1@127.0.0.1:{self._ports['CONTROLLER']}",
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in protocols.items()
            ),
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(self._folder / "broker.p12"),
            "ssl.keystore.password": _STORE_PASSWORD,
            "ssl.key.password": _STORE_PASSWORD,
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": plain,
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": scram,
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
            "super.users": "User:ANONYMOUS",
        }


def certificate(folder: Path) -> Path:
    """A certificate that no broker shows."""
    store, certificate_file = folder / "stranger.p12", folder / "stranger.pem"
    _keytool("-genkeypair", store, dname="CN=stranger", keyalg="EC", groupname="secp256r1")
    _keytool("-exportcert", store, "-rfc", file=str(certificate_file))
    return certificate_file


def _keytool(verb: str, store: Path, *flags: str, **given: str) -> None:
    options = {"alias": "it", "keystore": str(store), "storepass": _STORE_PASSWORD, "storetype": "PKCS12"}
    words = [word for name, value in (options | given).items() for word in (f"-{name}", value)]
    command = [needed("keytool", "openjdk-17-jre-headless"), verb, *flags, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
