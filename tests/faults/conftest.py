"""The fault table as tests: one file a row, a real broker, a real ledger, intakes in processes of their own.

FAULTS=all runs every row there is; a plain run only those of EVERY_RUN, to stay within its time. A row that
is named on the command line runs in any case.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedback.topics import Topics
from tests.intake_process import IntakeProcess, StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, build_ledger

EVERY_RUN = frozenset({7, 10, 12, 15, 23, 31})
"""Most worth for their time: kills at each point, zombies, duplicates, broken records, lost logs, counts."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    name = collection_path.name
    if not name.startswith("test_row_") or os.environ.get("FAULTS") == "all":
        return None
    return int(name[len("test_row_") :][:2]) not in EVERY_RUN or None


@pytest.fixture
def ledger(tmp_path: Path) -> IntakeLedger:
    """The ledger of this test."""
    return build_ledger(tmp_path)


@pytest.fixture
def start_intake(
    request: pytest.FixtureRequest, ledger: IntakeLedger, tmp_path: Path
) -> Iterator[StartIntake]:
    """Starts intakes of one group on this test's ledger; none is left behind."""
    started: list[IntakeProcess] = []
    group = f"g-{uuid.uuid4().hex[:8]}"

    def run(
        topics: Topics, *, on: RealKafka | None = None, ledger_url: str | None = None, **given: Any
    ) -> IntakeProcess:
        kafka: RealKafka = on or request.getfixturevalue("kafka")
        given["options"] = {"group": group} | given.get("options", {})
        log = tmp_path / f"intake-{len(started)}.log"
        started.append(
            IntakeProcess(kafka.bootstrap, ledger_url or ledger.database.url, topics, log, **given)
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        print(process.log.read_text(errors="replace")[-20_000:])
