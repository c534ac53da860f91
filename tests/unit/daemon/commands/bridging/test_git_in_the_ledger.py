"""What scans of a growing branch leave in the ledger: each state counts once, and only the last is usable."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from daemon.roles.git_scans import find, send
from daemon.setting_groups.git import GitSettings
from feedback.sending.kafka_sender import KafkaSender
from feedback.topics import Topics
from ledger.database import Database
from ledger.events import Interaction
from ledger.learning import event_queries
from ledger.schema import events
from tests.fakes.kafka import FakeKafka
from tests.integration.example_stage import intake_ledger
from tests.unit.feedback.bridges.git import git_builder
from tests.unit.feedback.bridges.git.git_builder import AGENT, ANN, BOB, BuiltRepository
from tests.unit.feedback.intake_builder import build_intake, run_intake_until
from tests.unit.ledger.event_builder import INTERACTIONS, build_interaction, keep
from tests.unit.ledger.ledger_builder import build_ledger

CODE = "def total(a, b):\n    return a+b+1\n"
SETTINGS = GitSettings(authors={ANN: "ann", BOB: "bob"}, bots=("*@bots.example",))


class Team:
    """A repository, a ledger that has captured the agent's reply, and scans between them."""

    def __init__(self, repository: BuiltRepository, database: Database) -> None:
        self.repository, self.database = repository, database
        self._kafka, self._topics = FakeKafka(), Topics()
        for topic in self._topics.retention_days():
            self._kafka.create_named(topic, partitions=1)

    def scan(self) -> None:
        """Scan, and have everything stored that was sent."""

        def captures(ids: Sequence[str]) -> Mapping[str, Interaction]:
            with self.database.read() as connection:
                return event_queries.interactions_named(connection, ids)

        bridged = find(SETTINGS, captures, self.repository.path, branch="main", agent=None, merges={})
        sent = [event for interaction in bridged for event in interaction.events]
        with closing(KafkaSender(self._kafka, key=None)) as plain:
            assert set(send(sent, signing=plain, plain=plain, why_not_believed=lambda _: None).values()) <= {
                "sent"
            }
        ledger = intake_ledger(self.database)
        intake = build_intake(self._kafka, ledger, self._topics)
        total = len(self._kafka.sent_records(self._topics.feedback))
        run_intake_until(intake, lambda: ledger.records_kept(self._topics.feedback) == total)

    def stored(self) -> list[tuple[str, str, str]]:
        with self.database.read() as connection:
            query = select(events.c.kind, events.c.author, events.c.status).order_by(events.c.seq)
            return [tuple(row) for row in connection.execute(query)]


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    monkeypatch.setattr(git_builder, "START_S", int(time.time()) - 9 * git_builder.DAY_S)
    with built_ledger(tmp_path) as database:
        yield Team(BuiltRepository(tmp_path / "clone"), database)


@contextmanager
def built_ledger(folder: Path) -> Iterator[Database]:
    with closing(build_ledger(folder / "clorad.db", "billing")) as database:
        capture = build_interaction("i1", completion=f"```python\n{CODE}```")
        keep(database, capture, partition=INTERACTIONS)
        yield database


def test_an_approval_is_taken_back_by_a_later_correction_and_scans_repeat_nothing(team: Team) -> None:
    team.repository.branch("topic")
    team.repository.commit({"total.py": CODE}, by=AGENT, day=1, interactions=("i1",))
    team.repository.merge("topic", by=BOB, day=2)
    team.scan()
    assert team.stored() == [("approve", "bob", "open")]
    team.repository.commit({"total.py": CODE.replace("+1", "")}, by=ANN, day=3)
    for _ in range(2):
        team.scan()
        assert team.stored() == [
            ("approve", "bob", "retracted"),
            ("retraction", "bob", "applied"),
            ("correction", "ann", "open"),
        ]
    team.repository.commit({"total.py": CODE.replace("a+b+1", "sum((a, b))")}, by=ANN, day=4)
    team.scan()
    assert team.stored()[2:] == [("correction", "ann", "superseded"), ("correction", "ann", "open")]
