"""Row 25. TLS and SASL: intake that is refused reports why, waits, and goes on once a person has acted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka.broker import BrokerUnavailable
from tests.faults.load import Load
from tests.faults.secured import PASSWORD, USER, Secured, certificate
from tests.installation import Installation
from tests.intake_process import StartIntake
from tests.kafka_broker import give_up
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]  # waits are long where the machine is busy

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
WRONG = "wrong-horse-battery"
REFUSED = "SASL: the broker refuses this user and password"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    try:
        secured_broker = Secured(tmp_path_factory.mktemp("secured"))
        secured_broker.broker.start()
    except BrokerUnavailable as complaint:
        give_up(str(complaint))
    try:
        secured_broker.set_password(PASSWORD, *MECHANISMS[1:])
        yield secured_broker
    finally:
        secured_broker.broker.kill()


def admitted(secured: Secured, ledger: IntakeLedger, start_intake: StartIntake, mechanism: str):
    """An intake whose password is right and that has kept all there was, and who says more."""
    topics = secured.admin.create_all()
    process = start_intake(topics, on=secured.through("SASL_SSL"), kafka=secured.options(mechanism))
    load = Load(secured.admin, topics.feedback)
    load.send(50)
    load.wait_until_kept(ledger)
    return process, load


@pytest.mark.parametrize("mechanism", [None, *MECHANISMS])
def test_row_25_everything_arrives_through(
    secured: Secured, ledger: IntakeLedger, start_intake: StartIntake, mechanism: str
) -> None:
    topics = secured.admin.create_all()
    way_in = secured.through("SASL_SSL" if mechanism else "SSL")
    process = start_intake(topics, on=way_in, kafka=secured.options(mechanism), ships=True)
    load = Load(secured.admin, topics.feedback)
    load.send(100)
    load.wait_until_kept(ledger)
    # The outbox's producer was admitted too.
    wait_until(lambda: ledger.outbox_count() == ledger.shipped_count() == load.broken)
    assert process.ended is None


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_row_25_a_wrong_password_is_told_waits_and_is_told_to_nobody_else(
    secured: Secured, ledger: IntakeLedger, start_intake: StartIntake, mechanism: str
) -> None:
    topics = secured.admin.create_all()
    given = secured.options(mechanism, sasl_plain_password=WRONG)
    process = start_intake(topics, on=secured.through("SASL_SSL"), kafka=given)
    wait_until(lambda: process.has_logged(f"READY kafka False {REFUSED}"))
    assert process.ended is None
    assert process.stop() == 0
    logged = process.log.read_text()
    assert WRONG not in logged
    assert logged.count("READY kafka") == 1, "one line"


def test_row_25_a_broker_that_is_not_the_one_we_trust_is_not_spoken_to(
    secured: Secured, ledger: IntakeLedger, start_intake: StartIntake, tmp_path: Path
) -> None:
    topics = secured.admin.create_all()
    trusted = certificate(tmp_path)
    given = secured.options("PLAIN", ssl_cafile=str(trusted))
    process = start_intake(topics, on=secured.through("SASL_SSL"), kafka=given)
    load = Load(secured.admin, topics.feedback)
    load.send(50)
    wait_until(lambda: process.has_logged("READY kafka False TLS: the broker's certificate is not trusted: "))
    assert process.ended is None
    trusted.write_text(secured.trusted.read_text())
    load.wait_until_kept(ledger)
    assert process.ended is None


def test_row_25_a_certificate_that_expired_is_renewed_without_a_restart_of_ours(
    secured: Secured, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    process, load = admitted(secured, ledger, start_intake, "SCRAM-SHA-512")
    secured.broker.stop()
    secured.renew_certificate(days=(-9, -2))
    secured.broker.start()
    load.send(50)
    wait_until(lambda: process.has_logged("certificate has expired"), wait_s=200.0)
    assert process.ended is None
    secured.broker.stop()
    secured.renew_certificate()
    secured.broker.start()
    load.wait_until_kept(ledger, wait_s=200.0)
    assert process.ended is None


def test_row_25_a_password_changed_under_us_is_told_and_got_over(
    secured: Secured, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    process, load = admitted(secured, ledger, start_intake, "SCRAM-SHA-512")
    secured.set_password(WRONG, "SCRAM-SHA-512")
    secured.broker.stop()
    secured.broker.start()
    wait_until(lambda: process.has_logged(f"READY kafka False {REFUSED}"), wait_s=200.0)
    load.send(50)
    secured.set_password(PASSWORD, "SCRAM-SHA-512")
    load.wait_until_kept(ledger, wait_s=200.0)
    assert process.ended is None
    logged = process.log.read_text()
    assert PASSWORD not in logged


def test_row_25_a_right_that_was_revoked_is_told_and_waited_for(
    secured: Secured, ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    process, load = admitted(secured, ledger, start_intake, "PLAIN")
    secured.forbid(load.topic)
    load.send(50)
    wait_until(lambda: process.has_logged("READY kafka False TopicAuthorizationFailedError"))
    secured.allow(load.topic)
    load.wait_until_kept(ledger)
    assert process.ended is None


def test_row_25_clorad_itself_keeps_the_password_to_itself(secured: Secured, tmp_path: Path) -> None:
    secured.set_password(WRONG, "SCRAM-SHA-512")
    options = secured.options("SCRAM-SHA-512")
    given = "".join(f'{name} = "{value}"\n' for name, value in options.items())
    servers = secured.through("SASL_SSL").bootstrap
    installed = Installation(tmp_path, servers, f'log_level = "debug"\n[kafka.options]\n{given}')
    refused = installed.refused("topics", "create")
    assert REFUSED in refused
    with installed.running("intake") as ended:
        wait_until(lambda: installed.check("kafka") == (False, REFUSED))
        secured.set_password(PASSWORD, "SCRAM-SHA-512")
        installed.clorad("topics", "create", "--partitions", "2")
        wait_until(installed.ready)
        assert installed.check("kafka") == (True, "")
        assert ended() is None
    shown = installed.clorad("config") + installed.clorad("config", "--json")
    logged = installed.log.read_text()
    assert f'"check": "kafka", "ok": false, "why": "{REFUSED}"' in logged
    assert "died" not in logged
    for text in (refused, shown, logged):
        assert PASSWORD not in text
        assert f"\\0{USER}" not in text
