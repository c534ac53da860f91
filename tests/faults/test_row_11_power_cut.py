"""Row 11. A power cut may tear the write-ahead log anywhere: offsets and rows still agree."""

import random
import shutil
from pathlib import Path

import pytest
from sqlalchemy import func, select

from ledger.schema import events, ranges
from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka


def test_row_11_a_torn_log_loses_whole_transactions_only(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake, tmp_path: Path
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    load.send(600)
    process = start_intake(topics, options={"records_max": 20})
    wait_until(lambda: len(ledger.ids()) > 200)
    process.kill()  # nothing is checkpointed as it would be on closing
    files = [tmp_path / "ledger.db", tmp_path / "ledger.db-wal"]
    whole = files[1].read_bytes()
    assert len(whole) > 100_000
    dice = random.Random(3)
    counts = set()
    for cut in sorted(dice.randrange(32, len(whole)) for _ in range(25)):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        shutil.copy(files[0], folder / "ledger.db")
        torn = whole[:cut] + bytes(dice.randrange(256) for _ in range(dice.randrange(3) * 1000))
        (folder / "ledger.db-wal").write_bytes(torn)
        survivor = IntakeLedger(f"sqlite:///{folder / 'ledger.db'}")
        survivor.check_ranges()
        stored = survivor.column(select(func.coalesce(func.sum(ranges.c.stored), 0)))[0]
        assert stored == survivor.column(select(func.count()).select_from(events))[0]
        counts.add(stored)
        survivor.database.close()
    assert len(counts) > 3, "cuts at different places keep different numbers of transactions"
    last = IntakeLedger(f"sqlite:///{folder / 'ledger.db'}")
    start_intake(topics, ledger_url=last.database.url)
    load.wait_until_kept(last)
