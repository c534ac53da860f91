"""`clorad init`: writes clorad.toml, makes the topics, the ledger and the adapter store.

The file is written last: a command that failed before can be run again as it was.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import typer

from daemon.commands.broker import broker_away, log_to_stderr
from daemon.commands.ledger_upkeep import migrate
from daemon.commands.setup.settings_text import FirstSettings
from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode
from daemon.process.role_process import RoleRefused
from daemon.roles.startup import cluster_of
from daemon.settings import Settings
from daemon.settings_file import SettingsRefused, read_settings
from daemon.terminal.progress import working
from engine.store_access import StoreRefused, prepare_store
from feedback import inspection
from feedback.cluster_state import read_cluster
from feedback.connection import Cluster
from feedback.inspection import BrokerAway
from feedback.topics import Topics

COPIES_MAX = 3
"""Copies of each new topic where the cluster has so many brokers: two may then be lost."""

ONE_AUTHOR = "gate.authors_min = 1: whoever can send feedback teaches an agent alone; choose them well"
TWO_AUTHORS = (
    "gate.authors_min = {n}: a correction teaches once {n} people correct alike; a team of one sets it to 1,"
    " and then anybody who can send feedback can teach"
)


def initialise(
    first: FirstSettings,
    config: Path | None,
    *,
    partitions: int,
    replication: int | None,
    force: bool,
    kafka: Callable[[Settings], Cluster] = cluster_of,
) -> None:
    """Set the installation up and write its settings. Raises `CommandFailed` with one line and a remedy.

    `replication` None: as many copies of the topics as there are brokers, three at most.
    """
    file = config or Path("clorad.toml")
    if file.exists() and not force:
        raise CommandFailed(f"{file} is there already; --force writes over it")
    if not (first.base / "config.json").is_file():
        raise CommandFailed(
            f"{first.base} has no config.json: --base is the directory of the model that vLLM serves",
            ExitCode.CHANGE_NEEDED,
        )
    log_to_stderr()
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_text(first.toml())
        settings = read_settings(draft)
        _make_topics(settings, kafka, partitions=partitions, replication=replication)
        _say(migrate(settings))
        prepare_store(settings.store.path, settings.store.group)
        _say(f"adapter store: {settings.store.path}")
        draft.rename(file)
    except SettingsRefused as refusal:
        raise CommandFailed(str(refusal), ExitCode.CHANGE_NEEDED) from None
    except (OSError, StoreRefused) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise CommandFailed(
            f"{file} or the store beside it cannot be written: {reason}; choose another folder",
            ExitCode.CHANGE_NEEDED,
        ) from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    _say(f"settings: {file}; `clorad doctor` checks them, `clorad run` starts the roles")
    authors_min = settings.gate.authors_min
    _say(ONE_AUTHOR if authors_min == 1 else TWO_AUTHORS.format(n=authors_min))


def base_of_replica(url: str, api_key: str | None) -> Path | None:
    """The directory of the base that the replica serves, where this machine has it; None: it is not known."""
    from daemon.doctor.replica_facts import NoAnswer, ReplicaFacts

    facts = ReplicaFacts(url, api_key)
    try:
        root = Path(facts.card().root)
    except NoAnswer:
        return None
    finally:
        facts.close()
    return root if root.is_absolute() and (root / "config.json").is_file() else None


def _make_topics(
    settings: Settings, kafka: Callable[[Settings], Cluster], *, partitions: int, replication: int | None
) -> None:
    topics = Topics()
    try:
        with working(f"asking Kafka at {settings.kafka.bootstrap_servers}"):
            cluster = kafka(settings)
            brokers = read_cluster(cluster, topics, group=settings.kafka.group).brokers
            copies = replication or min(COPIES_MAX, brokers)
            new_topics = inspection.make_topics(cluster, topics, partitions=partitions, replication=copies)
    except RoleRefused as refusal:
        raise CommandFailed(
            f"{refusal}; a password belongs into CLORAD_KAFKA__OPTIONS__SASL_PLAIN_PASSWORD",
            ExitCode.CHANGE_NEEDED,
        ) from None
    except BrokerAway as away:
        failure = broker_away(settings, away)
        raise CommandFailed(
            f"{failure}; start it or give --brokers, and run the command again", failure.code
        ) from None
    names = ", ".join(new_topics)
    _say(f"topics: made {names}, copies: {copies}" if new_topics else "topics: all were there already")


def _say(line: str) -> None:
    typer.echo(line)
