"""`clorad init`: a settings file that people can read, and everything that it names is there afterwards."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from daemon.commands.setup.init import base_of_replica, initialise
from daemon.commands.setup.questions import SetupQuestions
from daemon.commands.setup.settings_text import FirstSettings
from daemon.console import CommandFailed
from daemon.settings_file import read_settings
from ledger.database import Database
from ledger.revisions import require_newest
from ledger.topic_names import FEEDBACK_TOPIC
from tests.fakes.kafka import FakeKafka
from tests.fakes.vllm import FakeVLLM
from tests.unit.daemon.conftest import Clorad

AWAY = ("--brokers", "127.0.0.1:1")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


def build_first(folder: Path, **changed: Any) -> FirstSettings:
    given: dict[str, Any] = {
        "brokers": "kafka-1:9092,kafka-2:9092",
        "replicas": ("http://10.0.0.1:8000", "http://10.0.0.2:8000"),
        "base": folder / "model",
        "agent": "billing.support",
        "folder": folder,
        "authors_min": 2,
        "capture": True,
    }
    return FirstSettings(**{**given, **changed})


def run(
    first: FirstSettings, kafka: FakeKafka, *, force: bool = False, replication: int | None = None
) -> None:
    initialise(
        first,
        first.folder / "clorad.toml",
        partitions=4,
        replication=replication,
        force=force,
        kafka=lambda _: kafka.cluster,
    )


def test_each_value_of_the_file_has_a_line_that_says_what_it_is(tmp_path: Path) -> None:
    options = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_username": "clorad"}
    lines = build_first(tmp_path, kafka_options=options).toml().splitlines()
    values = [place for place, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(values) >= 12
    assert [lines[place] for place in values if not lines[place - 1].startswith("# ")] == []
    assert [line for line in lines if len(line) > 250] == []


def test_the_file_says_what_was_asked_for(tmp_path: Path, base: Path, kafka: FakeKafka) -> None:
    run(build_first(tmp_path), kafka)
    file = tmp_path / "clorad.toml"
    settings = read_settings(file)
    assert settings.kafka.bootstrap_servers == "kafka-1:9092,kafka-2:9092"
    assert settings.fleet.replicas == ("http://10.0.0.1:8000", "http://10.0.0.2:8000")
    assert (settings.engine.base, settings.store.path) == (base, tmp_path / "adapters")
    assert settings.agents["billing.support"].capture
    assert tomllib.loads(file.read_text())["gate"] == {"authors_min": 2}


def test_what_the_file_names_is_there(
    tmp_path: Path, base: Path, kafka: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.brokers = 5
    run(build_first(tmp_path), kafka)
    assert (len(kafka.topics), len(kafka.topics[FEEDBACK_TOPIC].logs)) == (4, 4)
    assert kafka.topics[FEEDBACK_TOPIC].replicas == 3, "one copy for each broker, three at most"
    database = Database(f"sqlite:///{tmp_path / 'clorad.db'}")
    with database.read() as connection:
        require_newest(connection)
    database.close()
    assert (tmp_path / "adapters").is_dir()
    assert list(tmp_path.glob(".clorad*")) == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "topics",
        "ledger at the newest schema",
        "adapter store",
        "settings",
        "gate.authors_min = 2",
    ]


@pytest.mark.parametrize(
    ("authors_min", "words"), [(1, "teaches an agent alone"), (3, "once 3 people correct alike")]
)
def test_what_a_team_of_one_costs_is_said(
    tmp_path: Path,
    base: Path,
    kafka: FakeKafka,
    capsys: pytest.CaptureFixture[str],
    authors_min: int,
    words: str,
) -> None:
    run(build_first(tmp_path, authors_min=authors_min), kafka)
    assert words in capsys.readouterr().out.splitlines()[-1]


def test_a_file_is_written_over_only_by_force(tmp_path: Path, base: Path, kafka: FakeKafka) -> None:
    file = tmp_path / "clorad.toml"
    file.write_text("# mine\n")
    with pytest.raises(CommandFailed, match="--force writes over it"):
        run(build_first(tmp_path), kafka)
    assert (file.read_text(), kafka.topics) == ("# mine\n", {})
    run(build_first(tmp_path), kafka, force=True)
    assert "billing.support" in file.read_text()


def test_nothing_is_written_where_kafka_is_away_and_the_command_can_be_run_again(
    tmp_path: Path, base: Path, kafka: FakeKafka
) -> None:
    kafka.away = True
    with pytest.raises(CommandFailed, match=r"did not answer .*; start it or give --brokers") as failed:
        run(build_first(tmp_path), kafka)
    assert failed.value.code == 75
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    kafka.away = False
    run(build_first(tmp_path), kafka)
    run(build_first(tmp_path), kafka, force=True)
    assert len(kafka.topics) == 4


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("--yes",), 2, "--yes needs --base"),
        (("--yes", "--base", "model"), 2, "--yes needs --agent"),
        ((), 2, "no terminal to ask on"),
        (("--yes", "--agent", "a", "--base", "nowhere"), 78, "has no config.json: --base"),
        (("--yes", "--agent", "a", "--base", "model", "--brokers", "a b"), 78, "kafka.bootstrap_servers"),
        (("--yes", "--agent", "a", "--base", "model", "--replica", "10.0.0.1"), 78, "fleet.replicas"),
        (
            ("--yes", "--agent", "a", "--base", "model", "--sasl-mechanism", "PLAIN"),
            78,
            "security_protocol PLAINTEXT does not use it",
        ),
        (
            (
                *("--yes", "--agent", "a", "--base", "model", "--security-protocol", "SASL_SSL"),
                *("--sasl-mechanism", "PLAIN", "--sasl-user", "me"),
            ),
            78,
            "CLORAD_KAFKA__OPTIONS__SASL_PLAIN_PASSWORD",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_with_a_remedy(
    clorad: Clorad, base: Path, words: tuple[str, ...], code: int, complaint: str
) -> None:
    result = clorad("init", *words)
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
    assert complaint in result.err
    assert sorted(path.name for path in base.parent.iterdir()) == ["model"]


def test_people_are_asked_for_what_no_option_says(tmp_path: Path) -> None:
    replica = FakeVLLM()
    replica.root = str(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    asked: dict[str, Any] = {}
    answers = {"Kafka": "kafka:9093", "How Kafka": "SASL_SSL", "User": "clorad", "Name": "sql", "People": 1}

    def ask(text: str, *, default: Any, **_: Any) -> Any:
        asked[text] = default
        return next((answer for words, answer in answers.items() if text.startswith(words)), default)

    first = SetupQuestions(asks=True, ask=ask).first_settings(
        brokers=None,
        kafka_options={},
        replicas=(replica.url,),
        base=None,
        agent=None,
        authors_min=None,
        capture=True,
    )
    replica.kill()
    assert (first.brokers, first.agent, first.authors_min, first.base) == ("kafka:9093", "sql", 1, tmp_path)
    assert first.kafka_options == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "clorad",
    }
    assert not [text for text in asked if text.startswith("vLLM")], "an option said it"


def test_a_base_that_no_replica_names_has_no_default(tmp_path: Path) -> None:
    replica = FakeVLLM()
    assert base_of_replica(replica.url, None) is None, "its directory is not on this machine"
    replica.kill()
    assert base_of_replica(replica.url, None) is None


def test_a_terminal_is_asked(clorad: Clorad, base: Path) -> None:
    """The answers are in the order of the questions; then Kafka is away."""
    answers = "\n".join(["127.0.0.1:1", "", "", str(base), "billing", "", ""])
    variables = {"CLORAD_KAFKA__OPTIONS": '{"bootstrap_timeout_ms": 500}'}
    result = clorad("init", stdin=answers, env=variables, terminal=True)
    assert (result.code, "Kafka at 127.0.0.1:1 did not answer" in result.err) == (75, True)
    assert "How Kafka is reached" in result.err, "standard output stays free for what was done"
