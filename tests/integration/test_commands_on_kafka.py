"""The command line against a real broker, with the real intake process between the two."""

import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.kafka.broker import LocalBroker, free_port
from feedback import inspection
from feedback.connection import Kafka
from feedback.topics import Topics
from ledger.topic_names import FEEDBACK_TOPIC
from tests.catalogue import catalogue
from tests.installation import Installation
from tests.kafka_broker import RealKafka

pytestmark = pytest.mark.kafka

WAIT_S = 60.0


def installation_on(folder: Path, broker: LocalBroker) -> Installation:
    installation = Installation(folder, broker.bootstrap)
    installation.clorad("topics", "create", "--partitions", "2")
    return installation


@pytest.fixture
def installed(tmp_path: Path, own_broker: Callable[..., LocalBroker]) -> Iterator[Installation]:
    installation = installation_on(tmp_path, own_broker())
    with installation.running("intake"):
        yield installation


@pytest.fixture
def shipping(tmp_path: Path, own_broker: Callable[..., LocalBroker]) -> Iterator[Installation]:
    """The fleet role runs too: it ships what is owed to Kafka."""
    installation = installation_on(tmp_path, own_broker())
    with installation.running("intake", "fleet"):
        yield installation


def until(holds: Callable[[], bool], log: Path) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, log.read_text()[-4000:]
        time.sleep(0.2)


def test_what_is_sent_from_the_shell_is_kept_shown_and_audited(installed: Installation) -> None:
    clorad, log = installed.clorad, installed.log
    about = ("--agent", "billing", "--author", "ann", "--prompt", "cancel my order")
    sent = [
        installed.json("send", "correction", *about, "--rejected", "no", "--corrected", "yes", "--id", "c1"),
        installed.json("send", "intervention", *about, "--action", "approve", "--said", "yes"),
        installed.json("send", "outcome", *about, "--value", "0.5", "--said", "yes"),
        installed.json("send", "retraction", "clorad-cli#c1", "--agent", "billing", "--author", "ann"),
        installed.json(
            "send", "correction", "--agent", "nobody", *about[2:], "--rejected", "a", "--corrected", "b"
        ),
    ]
    assert sent[0]["uid"] == "clorad-cli#c1"
    assert {record["topic"] for record in sent} == {FEEDBACK_TOPIC}
    until(lambda: (installed.folder / "clorad.db").exists() and installed.ready(), log)
    until(
        lambda: sum(partition["lag"] for partition in installed.json("status", "--lag")["partitions"]) == 0,
        log,
    )

    status = installed.json("status")
    assert status["events"] == {"total": 4, "applied": 1, "open": 2, "retracted": 1}
    assert status["dead_letters"] == {"unknown_agent": 1}
    [receipt] = installed.json("receipt", "clorad-cli#c1")["receipts"]
    assert (receipt["status"], receipt["stored"]["offset"]) == ("retracted", sent[0]["offset"])
    assert "unknown_agent" in clorad("receipt", sent[4]["uid"])

    again = installed.json(
        "send", "correction", *about, "--rejected", "no", "--corrected", "yes", "--id", "c1"
    )
    until(
        lambda: sum(partition["lag"] for partition in installed.json("status", "--lag")["partitions"]) == 0,
        log,
    )
    audit = installed.json("audit", "--verify")
    assert (audit["clean"], audit["verified"], audit["records"], audit["unread"]) == (True, True, 6, 0)
    assert (audit["stored"], audit["dead"], audit["duplicates"]) == (4, 1, 1)
    assert again["partition"] == sent[0]["partition"]

    with sqlite3.connect(installed.folder / "clorad.db") as damaged:  # a record the ledger took for a hole
        damaged.execute(
            "UPDATE ranges SET records = records - 1, duplicates = duplicates - 1 WHERE duplicates > 0"
        )
    audit = installed.json("audit", "--verify", ok=False)
    disagreements = [disagreement["what"] for disagreement in audit["disagreements"]]
    assert [text.endswith("0 records kept, 1 in the topic") for text in disagreements] == [True]


def test_topics_that_may_lose_feedback_are_said_when_they_were_there_already(
    tmp_path: Path, own_broker: Callable[..., LocalBroker]
) -> None:
    broker = own_broker()
    installation = installation_on(tmp_path, broker)
    assert installation.clorad("topics", "create") == "all topics were there already\n"
    RealKafka(broker.bootstrap).delete(Topics().feedback)
    RealKafka(broker.bootstrap).create_named(Topics().feedback, cleanup_policy="compact")
    complaint = installation.refused("topics", "create")
    assert complaint.startswith(f"clorad: {Topics().feedback}: cleanup.policy is compact: ")
    assert complaint.count("\n") == 1


def test_a_dead_letter_is_put_right_and_sent_again(shipping: Installation) -> None:
    clorad, log = shipping.clorad, shipping.log
    sent = shipping.json(
        *("send", "correction", "--agent", "newcomer", "--author", "ann", "--prompt", "cancel it"),
        *("--rejected", "no", "--corrected", "yes", "--id", "c1"),
    )
    until(lambda: (shipping.folder / "clorad.db").exists() and shipping.ready(), log)
    until(lambda: shipping.json("status")["dead_letters"] == {"unknown_agent": 1}, log)
    [letter] = shipping.json("dead-letters", "list")
    assert letter["offset"] == sent["offset"]

    [would] = shipping.json("dead-letters", "redrive", "--all", "--dry-run")["letters"]
    assert (would["record"]["topic"], would["record"]["value"]) == (FEEDBACK_TOPIC, letter["value"])
    until(shipping.caught_up, log)
    assert shipping.json("status")["dead_letters"] == {"unknown_agent": 1}, "a dry run sends nothing"

    clorad("agents", "add", "newcomer")
    assert "1 letter owed" in clorad("dead-letters", "redrive", "--reason", "unknown_agent")
    until(lambda: shipping.json("status")["events"]["total"] == 1 and shipping.caught_up(), log)
    clorad("dead-letters", "redrive", str(letter["id"]))  # whoever insists makes a duplicate, no second event
    until(lambda: shipping.json("audit")["duplicates"] == 1 and shipping.caught_up(), log)
    [receipt] = shipping.json("receipt", "clorad-cli#c1")["receipts"]
    assert (receipt["status"], receipt["stored"]["offset"] > sent["offset"]) == ("open", True)
    audit = shipping.json("audit", "--verify")
    assert (audit["clean"], audit["stored"], audit["dead"], audit["duplicates"]) == (True, 1, 1, 1)
    again = shipping.json("dead-letters", "show", str(letter["id"]))
    assert again["redriven_s"] is not None


def test_extents_and_offsets_are_what_a_reader_of_committed_records_sees(kafka: Any) -> None:
    topic = kafka.create(partitions=2)
    offsets = [kafka.send(topic, b"1"), kafka.send(topic, b"2")]
    kafka.send_transaction(topic, 3)
    offsets.append(kafka.send(topic, b"3"))
    first, second = inspection.extents(kafka.cluster, [topic, "no-such-topic"])
    assert (first.first, second.end) == (0, 0)
    assert list(inspection.offsets(kafka.cluster, first, start=0, end=first.end)) == offsets
    assert list(inspection.offsets(kafka.cluster, first, start=1, end=2)) == [1]
    kafka.delete_records(topic, 0, 1)
    [first, _] = inspection.extents(kafka.cluster, [topic])
    assert first.first == 1
    assert list(inspection.offsets(kafka.cluster, first, start=0, end=first.end)) == offsets[1:]


# kafka-python leaves a connection that timed out to the garbage collector
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_is_away_is_one_exception() -> None:
    away = Kafka(bootstrap_servers=f"127.0.0.1:{free_port()}", options={}, bootstrap_ms_max=500)
    with pytest.raises(inspection.BrokerAway):
        inspection.extents(away, ["t"])
    with pytest.raises(inspection.BrokerAway):
        inspection.make_topics(away, Topics(), partitions=1, replication=1)


def scraped(installation: Installation, *, role: int) -> dict[str, dict[str, set[str]]]:
    """The metrics of clorad that one role exports: by metric and label, its values."""
    url = f"http://127.0.0.1:{installation.health_port + role}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    labels_by_metric: dict[str, dict[str, set[str]]] = {}
    for family in (family for family in families if family.name.startswith("clorad_")):
        for sample in family.samples:
            name = family.name if family.type == "histogram" else sample.name
            labels = labels_by_metric.setdefault(name, {})
            for label, value in sample.labels.items():
                if label != "le" and not label.startswith("otel_") and value:
                    labels.setdefault(label, set()).add(value)
    return labels_by_metric


def test_what_roles_show_to_prometheus_is_what_the_catalogue_says(shipping: Installation) -> None:
    """A usable event and one for an unknown agent. The fleet role leads and exports the ledger's metrics."""
    about = ("--author", "ann", "--prompt", "cancel", "--rejected", "a", "--corrected", "b")
    for agent in ("billing", "nobody"):
        shipping.clorad("send", "correction", "--agent", agent, *about)
    until(shipping.ready, shipping.log)
    until(shipping.caught_up, shipping.log)

    def scraped_metrics() -> dict[str, dict[str, set[str]]]:
        return scraped(shipping, role=0) | scraped(shipping, role=2)

    until(
        lambda: "event" in scraped_metrics().get("clorad_ledger_last_timestamp_seconds", {}).get("what", ()),
        shipping.log,
    )
    rows, shown = catalogue(), scraped_metrics()
    assert {
        "clorad_feedback_lag",
        "clorad_ledger_agents",
        "clorad_feedback_outbox_shipped_total",
    } <= shown.keys()
    assert shown.keys() <= rows.keys()
    for name, labels in shown.items():
        assert labels.keys() <= rows[name].labels.keys(), name
        for label, values in labels.items():
            assert not rows[name].labels[label] or values <= rows[name].labels[label], name
    assert not [
        value
        for labels in shown.values()
        for values in labels.values()
        for value in values & {"billing", "ann"}
    ]
