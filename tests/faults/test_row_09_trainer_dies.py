"""Row 9. A trainer that is slow, hangs or is killed disturbs no group; its work is taken up, and once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.base_files import base_hash
from feedback.source import SESSION_MS
from ledger.learning import agents
from ledger.schema import turns, versions
from tests.learner_process import LEASE_S, RECIPE, LearnerProcess
from tests.unit.engine import tiny
from tests.unit.feedback.taking_in import Books, correct, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]  # waits are long where the machine is busy

AGENT = "billing"
WAIT_S = 120.0


@pytest.fixture
def teach(kept: Books, tmp_path: Path) -> Iterator[Callable[..., LearnerProcess]]:
    """Starts learners on this test's ledger, whose one agent's base they have; none is left behind."""
    base, started = tiny.base_directory(tmp_path / "base"), []
    agents.declare(kept.database, agents.Agent(name=AGENT, base_hash=base_hash(base), recipe=RECIPE))

    def run(**given: object) -> LearnerProcess:
        log = tmp_path / f"learner-{len(started)}.log"
        started.append(LearnerProcess(kept.database.url, base, tmp_path / "store", log, **given))
        return started[-1]

    yield run
    for one in started:
        one.kill()
        print(one.log.read_text(errors="replace")[-20_000:])


@pytest.fixture
def told(kafka, kept, start, teach):
    """Intake runs, people have said what is to be learned, and afterwards it still has its partitions."""
    topics = kafka.create_all()
    process = start(topics, options={"session_ms": SESSION_MS})
    for number in range(12):
        messages = [{"role": "user", "content": f"question {number}"}]
        correct(kafka, topics.feedback, agent=AGENT, messages=messages, corrected=f"yes {number}")
    until(lambda: len(kept.ids()) == 12)
    placed = process.log.read_text().count("partition placed")
    yield
    after = [correct(kafka, topics.feedback, agent=AGENT) for _ in range(3)]
    until(lambda: set(after) <= set(kept.ids()))
    assert process.ended is None
    assert process.log.read_text().count("partition placed") == placed, "no rebalance"


def made(kept: Books) -> list[str]:
    return kept.column(select(versions.c.path))


def taught_once(kept: Books) -> bool:
    """One turn was opened, and one version came of it, which exists."""
    return len(made(kept)) == 1 == len(kept.column(select(turns.c.id)))


def test_row_09_a_step_that_takes_long_is_nobody_elses_work(told, kept, teach):
    slow = teach(stalls={"learner-training": 6 * LEASE_S})
    until(lambda: slow.says("STALLED"), WAIT_S)
    other = teach()
    until(lambda: slow.says("version made"), WAIT_S)
    until(lambda: other.says("READY engine"), WAIT_S)
    assert not other.says("pass resumed")
    assert taught_once(kept)


def test_row_09_a_killed_trainers_pass_is_taken_up_and_done_once(told, kept, teach):
    killed = teach(stalls={"learner-training": 600.0})
    until(lambda: killed.says("STALLED"), WAIT_S)
    killed.kill()
    assert made(kept) == []
    heirs = [teach(), teach()]
    until(lambda: any(heir.says("version made") for heir in heirs), WAIT_S)
    assert sum(heir.says("pass resumed") for heir in heirs) == 1
    assert taught_once(kept)


def test_row_09_a_trainer_that_hung_wakes_to_find_its_work_done(told, kept, teach, tmp_path):
    hung = teach(stalls={"learner-training": 1.0})
    until(lambda: hung.says("STALLED"), WAIT_S)
    hung.freeze()
    heir = teach()
    until(lambda: heir.says("version made"), WAIT_S)
    kept_by_heir = made(kept)
    hung.wake()
    until(lambda: hung.says("pass abandoned") or hung.says("turn void"), WAIT_S)
    assert hung.ended is None
    assert made(kept) == kept_by_heir
    assert taught_once(kept)
    assert (tmp_path / "store" / kept_by_heir[0]).is_dir()
