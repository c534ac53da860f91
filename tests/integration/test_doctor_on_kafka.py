"""What `clorad doctor` finds at a real broker with TLS, passwords and access control."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.doctor.broker_checks import broker_checks
from daemon.doctor.checking import run_checks
from daemon.settings import Settings
from deploy.kafka.broker import BrokerUnavailable
from feedback.connection import Kafka
from feedback.topics import Topics
from tests.faults.secured import Secured
from tests.kafka_broker import give_up

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    broker = Secured(tmp_path_factory.mktemp("secured"))
    try:
        broker.broker.start()
        yield broker
    except BrokerUnavailable as complaint:
        give_up(str(complaint))
    finally:
        broker.broker.kill()


def faults_of(secured: Secured, topics: Topics, folder: Path, **options: Any) -> dict[str, list[str]]:
    """The faults that the user finds, each with its places."""
    settings = Settings.model_validate({"ledger": {"url": f"sqlite:///{folder / 'none.db'}"}})
    cluster = Kafka(
        bootstrap_servers=secured.through("SASL_SSL").bootstrap,
        options=secured.options("PLAIN", **options),
        bootstrap_ms_max=20_000,
    )
    places: dict[str, list[str]] = {}
    for result in run_checks([broker_checks(settings, lambda: cluster, topics)]):
        for fault in result.findings:
            places.setdefault(fault.name, []).append(fault.where)
    return places


def test_a_broker_whose_user_may_do_all_has_no_fault(secured: Secured, tmp_path: Path) -> None:
    assert faults_of(secured, secured.admin.create_all(), tmp_path) == {}


def test_a_topic_that_the_user_may_not_read_is_named(secured: Secured, tmp_path: Path) -> None:
    topics = secured.admin.create_all()
    secured.forbid(topics.interactions)
    assert faults_of(secured, topics, tmp_path) == {"kafka-topic-rights": [topics.interactions]}


def test_topics_that_lose_records_or_are_missing_are_named(secured: Secured, tmp_path: Path) -> None:
    topics = replace(secured.admin.create_all(cleanup_policy="compact"), lifecycle="t-not-there")
    assert faults_of(secured, topics, tmp_path) == {
        "kafka-topic-missing": ["t-not-there"],
        "kafka-cleanup-policy": [topics.feedback, topics.interactions],
    }


def test_a_password_that_is_refused_is_said_without_it(secured: Secured, tmp_path: Path) -> None:
    faults = faults_of(secured, secured.admin.create_all(), tmp_path, sasl_plain_password="wrong-horse")
    assert list(faults) == ["kafka-away"]
