"""Row 9. A learner that is slow, hangs or is killed does not disturb intake; another one finishes its
pass."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.base_files import base_hash
from ledger.learning import agents
from ledger.schema import turns, versions
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.learner_process import LEASE_S, RECIPE, LearnerProcess
from tests.unit.engine import tiny_base
from tests.unit.feedback.intake_builder import IntakeLedger, send_correction, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]  # waits are long where the machine is busy

AGENT = "billing"
WAIT_S = 120.0
SESSION_MS = 45_000
"""Kafka's default. Learners take all processors here, and a shorter session may end for want of a
heartbeat."""


@pytest.fixture
def teach(ledger: IntakeLedger, tmp_path: Path) -> Iterator[Callable[..., LearnerProcess]]:
    """Starts learners on this test's ledger, whose one agent's base they have; none is left behind."""
    base, started = tiny_base.build_base_directory(tmp_path / "base"), []
    agents.declare(ledger.database, agents.Agent(name=AGENT, base_hash=base_hash(base), recipe=RECIPE))

    def run(**given: object) -> LearnerProcess:
        log = tmp_path / f"learner-{len(started)}.log"
        started.append(LearnerProcess(ledger.database.url, base, tmp_path / "store", log, **given))
        return started[-1]

    yield run
    for learner in started:
        learner.kill()
        print(learner.log.read_text(errors="replace")[-20_000:])


@pytest.fixture
def taught_people(kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake, teach):
    """Intake has stored corrections, and after the test it still has its partitions and stores more."""
    topics = kafka.create_all()
    process = start_intake(topics, options={"session_ms": SESSION_MS})
    for number in range(12):
        messages = [{"role": "user", "content": f"question {number}"}]
        send_correction(kafka, topics.feedback, agent=AGENT, messages=messages, corrected=f"yes {number}")
    wait_until(lambda: len(ledger.ids()) == 12, WAIT_S)
    placed = process.log.read_text().count("partition placed")
    yield
    after = [send_correction(kafka, topics.feedback, agent=AGENT) for _ in range(3)]
    wait_until(lambda: set(after) <= set(ledger.ids()), WAIT_S)
    assert process.ended is None
    assert process.log.read_text().count("partition placed") == placed, "no rebalance"


def made(ledger: IntakeLedger) -> list[str]:
    return ledger.column(select(versions.c.path))


def taught_once(ledger: IntakeLedger) -> bool:
    """One turn was opened, and one version came of it, which exists."""
    return len(made(ledger)) == 1 == len(ledger.column(select(turns.c.id)))


def test_row_09_a_step_that_takes_long_is_nobody_elses_work(
    taught_people, ledger: IntakeLedger, teach
) -> None:
    slow = teach(stalls={"learner-training": 6 * LEASE_S})
    wait_until(lambda: slow.has_logged("STALLED"), WAIT_S)
    other = teach()
    wait_until(lambda: slow.has_logged("version made"), WAIT_S)
    wait_until(lambda: other.has_logged("READY engine"), WAIT_S)
    assert not other.has_logged("pass resumed")
    assert taught_once(ledger)


def test_row_09_a_killed_trainers_pass_is_taken_up_and_done_once(
    taught_people, ledger: IntakeLedger, teach
) -> None:
    killed = teach(stalls={"learner-training": 600.0})
    wait_until(lambda: killed.has_logged("STALLED"), WAIT_S)
    killed.kill()
    assert made(ledger) == []
    heirs = [teach(), teach()]
    wait_until(lambda: any(heir.has_logged("version made") for heir in heirs), WAIT_S)
    assert sum(heir.has_logged("pass resumed") for heir in heirs) == 1
    assert taught_once(ledger)


def test_row_09_a_trainer_that_hung_wakes_to_find_its_work_done(
    taught_people, ledger: IntakeLedger, teach, tmp_path: Path
) -> None:
    hung = teach(stalls={"learner-training": 1.0})
    wait_until(lambda: hung.has_logged("STALLED"), WAIT_S)
    hung.freeze()
    heir = teach()
    wait_until(lambda: heir.has_logged("version made"), WAIT_S)
    kept_by_heir = made(ledger)
    hung.wake()
    wait_until(lambda: hung.has_logged("pass abandoned") or hung.has_logged("turn void"), WAIT_S)
    assert hung.ended is None
    assert made(ledger) == kept_by_heir
    assert taught_once(ledger)
    assert (tmp_path / "store" / kept_by_heir[0]).is_dir()
