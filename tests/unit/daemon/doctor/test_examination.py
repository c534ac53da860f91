"""`clorad doctor` names each planted fault, and no other, in an installation that is otherwise healthy."""

import json
import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from daemon.commands.setup import doctor
from daemon.console import CommandFailed
from daemon.doctor.checking import run_checks
from daemon.doctor.engine_checks import engine_checks
from daemon.doctor.faults import Fault
from ledger.access.keys import create_key
from ledger.access.rights import Grant, Right
from ledger.database import Database
from ledger.events import Status
from ledger.learning.backlog import WAITS_FOR_ANOTHER
from ledger.schema import events
from ledger.topic_names import FEEDBACK_TOPIC, INTERACTIONS_TOPIC, LIFECYCLE_TOPIC
from tests.unit.daemon.doctor.doctored_installation import AGENT, DoctoredInstallation
from tests.unit.engine.tiny_base import build_base_directory
from tests.unit.ledger.event_builder import build_event, build_outcome

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]

Plant = Callable[[DoctoredInstallation], object]

PLANTS: list[tuple[str, Plant]] = []


def plants(name: str) -> Callable[[Plant], Plant]:
    """Register a function that plants the fault of that name, and no other."""

    def register(plant: Plant) -> Plant:
        PLANTS.append((name, plant))
        return plant

    return register


def remake(it: DoctoredInstallation, topic: str, partitions: int = 2, **settings: str) -> None:
    it.kafka.delete(topic)
    it.kafka.create_named(topic, partitions, it.kafka.brokers, **settings)


def with_rights(it: DoctoredInstallation, name: str, *rights: str) -> None:
    it.kafka.rights[name] = frozenset(rights)


def with_ledger(it: DoctoredInstallation, statement: str) -> None:
    with closing(Database(f"sqlite:///{it.ledger}")) as database, database.write() as connection:
        connection.execute(text(statement))


def with_key(it: DoctoredInstallation, name: str, lifetime_s: float | None) -> None:
    grant = Grant(name=name, rights=frozenset({Right.TALK}))
    with closing(Database(f"sqlite:///{it.ledger}")) as database:
        create_key(database, grant, by="test", lifetime_s=lifetime_s)


def refuse_options(it: DoctoredInstallation) -> None:
    it.set("kafka", options={"sasl_mechanics": "PLAIN"})
    it.cluster = lambda: doctor.cluster_of(it.settings)  # type: ignore[method-assign]


plants("kafka-options")(refuse_options)
plants("kafka-away")(lambda it: setattr(it.kafka, "away", True))
plants("kafka-topic-missing")(lambda it: it.kafka.delete(LIFECYCLE_TOPIC))
plants("kafka-topic-rights")(
    lambda it: with_rights(it, FEEDBACK_TOPIC, "DESCRIBE", "DESCRIBE_CONFIGS", "WRITE")
)
plants("kafka-topic-rights")(
    lambda it: with_rights(it, LIFECYCLE_TOPIC, "DESCRIBE", "DESCRIBE_CONFIGS", "READ")
)
plants("kafka-topic-rights")(lambda it: with_rights(it, INTERACTIONS_TOPIC))
plants("kafka-group-rights")(lambda it: with_rights(it, "clorad"))
plants("kafka-no-coordinator")(lambda it: setattr(it.kafka, "coordinates", False))
plants("kafka-cleanup-policy")(lambda it: remake(it, FEEDBACK_TOPIC, cleanup_policy="compact"))
plants("kafka-retention-time")(lambda it: remake(it, INTERACTIONS_TOPIC, retention_ms="3600000"))
plants("kafka-retention-bytes")(lambda it: remake(it, FEEDBACK_TOPIC, retention_bytes="1048576"))
plants("kafka-min-insync")(lambda it: remake(it, FEEDBACK_TOPIC, min_insync_replicas="2"))
plants("kafka-partitions")(lambda it: remake(it, FEEDBACK_TOPIC, 1))
plants("kafka-record-size")(lambda it: remake(it, LIFECYCLE_TOPIC, max_message_bytes="65536"))


@plants("kafka-group-rights")
def let_intake_lose_its_right(it: DoctoredInstallation) -> None:
    it.kafka.consumer(group_id="clorad")
    with_rights(it, "clorad", "DESCRIBE")


@plants("kafka-topic-settings")
def hide_settings(it: DoctoredInstallation) -> None:
    it.kafka.tells_settings = False


@plants("kafka-copies")
def add_brokers(it: DoctoredInstallation) -> None:
    it.kafka.brokers = 3


@plants("kafka-clock")
def send_from_the_future(it: DoctoredInstallation) -> None:
    it.kafka.send(FEEDBACK_TOPIC, b"{}", timestamp_ms=round(1000 * (time.time() + 3600)))


@plants("kafka-topic-remade")
def read_another_topic(it: DoctoredInstallation) -> None:
    it.keep(build_event("e1", role=None, agent="coder"))
    remake(it, FEEDBACK_TOPIC)


plants("ledger-missing")(lambda it: it.ledger.unlink())
plants("ledger-missing")(lambda it: it.ledger.write_bytes(b""))
plants("ledger-schema")(lambda it: with_ledger(it, "UPDATE alembic_version SET version_num = '0001'"))
plants("ledger-schema")(lambda it: with_ledger(it, "UPDATE alembic_version SET version_num = '9999'"))
plants("ledger-unusable")(lambda it: it.ledger.write_bytes(b"no database" * 1000))
plants("ledger-mode")(lambda it: it.ledger.chmod(0o644))
plants("ledger-disk")(lambda it: it.set("ledger", free_disk_mib_min=1 << 40))
plants("ledger-away")(lambda it: it.set("ledger", url="postgresql+psycopg://nobody@127.0.0.1:1/none"))


@plants("ledger-backlog")
def fill_the_ledger(it: DoctoredInstallation) -> None:
    it.feed()
    it.set("ledger", backlog_rows_max=1)


plants("store-missing")(lambda it: it.store.rmdir())


@plants("store-unwritable")
def write_where_nobody_may(it: DoctoredInstallation) -> None:
    it.set("store", path=Path("/proc/sys"))
    it.set("ledger", free_disk_mib_min=0)  # that file system has no size


plants("store-group")(lambda it: it.set("store", group="no-such-group"))


@plants("base-missing")
def name_no_base(it: DoctoredInstallation) -> None:
    it.set("engine", base=it.folder / "nowhere")


@plants("base-missing")
def take_the_weights(it: DoctoredInstallation) -> None:
    it.own_base()
    (it.base / "model.safetensors").unlink()


@plants("base-tokenizer")
def take_the_tokenizer(it: DoctoredInstallation) -> None:
    it.own_base()
    for path in it.base.glob("*"):
        if path.name.startswith(("token", "special", "chat")):
            path.unlink()


@plants("base-tokenizer")
def take_the_template(it: DoctoredInstallation) -> None:
    it.own_base()
    (it.base / "chat_template.jinja").unlink(missing_ok=True)
    path = it.base / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": None}))


plants("base-changed")(lambda it: it.declare(base_hash="0" * 64, capture=True))
plants("replica-away")(lambda it: it.vllm.kill())
plants("replica-key")(lambda it: setattr(it.vllm, "api_key", "s3cret"))
plants("replica-mixes-tenants")(lambda it: setattr(it.vllm, "version", "0.22.1"))
plants("replica-mixes-tenants")(lambda it: setattr(it.vllm, "version", "0.24.0"))
plants("replica-untried")(lambda it: setattr(it.vllm, "version", "0.28.0rc1"))
plants("replica-version")(lambda it: setattr(it.vllm, "version", None))
plants("replica-no-loading")(lambda it: setattr(it.vllm.options, "loads_at_run_time", False))
plants("replica-no-lora")(lambda it: setattr(it.vllm.options, "enable_lora", False))
plants("replica-rank")(lambda it: setattr(it.vllm.options, "max_lora_rank", 8))
plants("replica-store")(lambda it: setattr(it.vllm.options, "sees_store", False))
plants("replica-load")(lambda it: setattr(it.vllm.faults, "refuse_loads", True))
plants("replica-max-loras")(lambda it: setattr(it.vllm.options, "max_loras", 2))
plants("replica-max-cpu-loras")(lambda it: setattr(it.vllm.options, "max_cpu_loras", 8))
plants("replica-logprobs-mode")(lambda it: setattr(it.vllm.options, "processed_logprobs", False))
plants("replica-tools")(lambda it: setattr(it.vllm.options, "tool_call_parser", False))
plants("replica-clock")(lambda it: setattr(it.vllm.options, "clock_ahead_s", -90.0))


@plants("replica-base")
def serve_another_base(it: DoctoredInstallation) -> None:
    it.vllm.root = str(build_base_directory(it.folder / "other", seed=7))


@plants("replica-tokenizer")
def serve_another_tokenizer(it: DoctoredInstallation) -> None:
    right = it.vllm.tokenize
    it.vllm.tokenize = lambda body: {"tokens": [token + 1 for token in right(body)["tokens"]]}


@plants("replica-chat-template")
def serve_another_template(it: DoctoredInstallation) -> None:
    right = it.vllm.tokenize
    it.vllm.tokenize = lambda body: {"tokens": right(body)["tokens"][: -1 if "messages" in body else None]}


plants("keys-open-gateway")(lambda it: it.set("gateway", host="0.0.0.0"))
plants("keys-opened-on-purpose")(lambda it: it.set("gateway", host="0.0.0.0", open_beyond_loopback=True))
plants("keys-none")(lambda it: it.set("gateway", access="keys"))
plants("telemetry-open")(lambda it: it.set("telemetry", health_host="0.0.0.0", health_port=9000))


@plants("keys-expired")
def let_a_key_expire(it: DoctoredInstallation) -> None:
    it.set("gateway", access="keys")
    with_key(it, "ann", None)
    with_key(it, "bob", -1.0)


plants("agents-none")(lambda it: it.set("agents", **{AGENT: None}))
plants("agents-rank")(lambda it: it.set("agents", coder={"recipe": {"rank": 32}}))
plants("agents-not-captured")(lambda it: it.set("agents", coder={"gate": "outcomes"}))
plants("agents-no-anchors")(lambda it: it.feed(anchors=0))
plants("agents-no-suite")(lambda it: it.feed(suite=1))
plants("agents-too-little-evidence")(lambda it: it.feed(gate=3))


@plants("agents-one-author")
def let_one_person_correct(it: DoctoredInstallation) -> None:
    it.feed()
    it.keep(build_event("alone"))
    waits = {"status": Status.WAITING.value, "status_reason": WAITS_FOR_ANOTHER}
    with closing(Database(f"sqlite:///{it.ledger}")) as database, database.write() as connection:
        connection.execute(update(events).where(events.c.id == "alone").values(**waits))


@plants("agents-only-outcomes")
def let_outcomes_come(it: DoctoredInstallation) -> None:
    it.declare(capture=True)
    it.keep(*(build_outcome(f"o{number}", 0.5) for number in range(3)))


@plants("agents-scorer-away")
def name_a_scorer_that_is_away(it: DoctoredInstallation) -> None:
    it.set("scorers", policy={"kind": "http", "url": "http://127.0.0.1:1/score"})
    it.set("agents", **{AGENT: {"scorer": "policy"}})


def bridge(it: DoctoredInstallation, **changed: Any) -> None:
    tool = {"kind": "argilla", "secret": "c2VjcmV0", "agent": AGENT, **changed}
    it.set("bridges", path=it.folder / "bridges", tools={"labels": tool})


plants("bridge-agent")(lambda it: bridge(it, agent="nobody"))
plants("bridge-tool")(lambda it: bridge(it, kind="phoenix", url="http://127.0.0.1:1"))
plants("bridge-tool")(lambda it: bridge(it, kind="mlflow", url=it.vllm.url))


@plants("bridge-journal")
def put_a_file_in_the_journals_place(it: DoctoredInstallation) -> None:
    bridge(it)
    (it.folder / "bridges").write_bytes(b"")


@plants("bridge-source")
def sign_as_somebody_who_speaks_for_others(it: DoctoredInstallation) -> None:
    bridge(it)
    signer = {"algorithm": "hmac-sha256", "secret": "c2VjcmV0" * 8, "sources": ["//crm"]}
    it.set("feedback", sign_as="crm", signers={"crm": signer})


@plants("bridge-mirror")
def name_a_mirror_that_is_not_there(it: DoctoredInstallation) -> None:
    repository = {"host": "github", "name": "team/shop", "path": it.folder / "none", "secret": "a-secret"}
    it.set("git", repositories={"shop": repository})


def tell(it: DoctoredInstallation, url: str, dashboard: str | None = "https://clorad.example") -> None:
    it.vllm.vectors = {}  # it takes whatever is posted to /v1/embeddings
    it.set("dashboard", url=dashboard)
    it.set("notify", receivers={"ops": {"url": url, "secret": "c2VjcmV0" * 4}})


plants("notify-away")(lambda it: tell(it, "http://127.0.0.1:1/v1/embeddings"))
plants("notify-refused")(lambda it: tell(it, f"{it.vllm.url}/elsewhere"))
plants("notify-plain")(lambda it: tell(it, f"{it.vllm.url}/v1/embeddings".replace("127.0.0.1", "0.0.0.0")))
plants("notify-no-links")(lambda it: tell(it, f"{it.vllm.url}/v1/embeddings", dashboard=None))


def found(installation: DoctoredInstallation) -> list[str]:
    return sorted({finding.name for finding in installation.examine().findings})


def test_a_healthy_installation_has_no_fault(installation: DoctoredInstallation) -> None:
    examination = installation.examine()
    assert examination.findings == []
    assert {result.name for result in examination.skipped} == {"group", "keys", "health ports", "scorers"}


def test_a_healthy_installation_that_learns_has_no_fault(installation: DoctoredInstallation) -> None:
    installation.feed()
    assert found(installation) == []


@pytest.mark.parametrize(("name", "plant"), PLANTS, ids=[f"{n}-{name}" for n, (name, _) in enumerate(PLANTS)])
def test_each_planted_fault_is_named_and_no_other(
    installation: DoctoredInstallation, name: str, plant: Plant
) -> None:
    plant(installation)
    assert found(installation) == [name]


def test_every_fault_of_an_installation_is_planted_by_some_test() -> None:
    own = {Fault.ENGINE_BROKEN, Fault.REPLICA_FORM, Fault.CHECK_FAILED, Fault.CHECK_SLOW}
    assert {name for name, _ in PLANTS} == {fault.label for fault in set(Fault) - own}


def test_names_of_faults_are_unique() -> None:
    assert len({fault.label for fault in Fault}) == len(Fault)


def test_a_server_that_is_no_vllm_is_named(installation: DoctoredInstallation) -> None:
    installation.set("fleet", replicas=(f"{installation.vllm.url}/health",))
    assert found(installation) == ["replica-not-vllm"]


def test_an_engine_that_cannot_load_the_base_is_named(installation: DoctoredInstallation) -> None:
    installation.own_base()
    installation.vllm.root = str(installation.base)
    path = installation.base / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "gpt2"}))
    variables = {"CLORAD_ENGINE__BASE": str(installation.base)}
    [group] = [engine_checks(installation.settings, None, variables)]
    [result] = run_checks([group])
    assert [finding.name for finding in result.findings] == ["engine-selftest"]
    assert "gpt2" in result.findings[0].what


def test_programs_get_one_document(
    installation: DoctoredInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.vllm.kill()
    installation.ledger.chmod(0o644)
    with pytest.raises(CommandFailed) as failed:
        doctor.report(installation.settings, installation.cluster, None, quick=True, as_json=True)
    assert (failed.value.code, str(failed.value)) == (
        1,
        "1 error in this installation: repair it, and ask again",
    )
    document = json.loads(capsys.readouterr().out)
    assert (document["form"], document["errors"], document["warnings"]) == (1, 1, 1)
    [error, warning] = document["findings"]
    assert error.keys() == {"name", "severity", "where", "what", "remedy"}
    assert (error["name"], error["severity"], error["where"]) == (
        "replica-away",
        "error",
        installation.vllm.url,
    )
    assert warning["name"] == "ledger-mode"
    states = {check["state"] for check in document["checks"]}
    assert states == {"ok", "found", "skipped"}
    assert document["checks"][0].keys() == {"group", "name", "state", "why", "seconds"}


def test_people_get_each_fault_with_its_remedy(
    installation: DoctoredInstallation, capsys: pytest.CaptureFixture[str]
) -> None:
    installation.vllm.options.tool_call_parser = False
    doctor.report(installation.settings, installation.cluster, None, quick=True, as_json=False)
    shown = capsys.readouterr()
    assert "! it refuses requests that offer tools" in shown.out
    assert "--enable-auto-tool-choice" in shown.out
    assert "not checked: store, group: no group is set" in shown.out
    assert "0 errors, 1 warning" in shown.out
    assert shown.err == "", "a file gets no progress"


def test_nothing_stays_at_a_replica_or_in_the_store(installation: DoctoredInstallation) -> None:
    before = sorted(path.name for path in installation.store.iterdir())
    installation.examine()
    after = sorted(path.name for path in installation.store.rglob("*") if path.is_file())
    assert installation.vllm.adapters == {}
    assert (before, set(after) - {".base-hashes.json"}) == ([], set())


def test_the_runbook_lists_every_fault_with_its_severity() -> None:
    text = (ROOT / "deploy" / "RUNBOOK.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (error|warning) \|", text, re.MULTILINE)
    assert rows == [(fault.label, fault.severity.value) for fault in Fault]
