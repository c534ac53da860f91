"""Row 24. A restored ledger has the offsets of its backup: intake reads the same records again."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from ledger.identity import ensure_identity
from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("backed_up_after", [0, 100])
def test_row_24_an_old_backup_catches_up(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake, tmp_path: Path, backed_up_after
) -> None:
    ensure_identity(ledger.database)
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    if backed_up_after:
        process = start_intake(topics)
        load.send(backed_up_after)
        load.wait_until_kept(ledger)
        process.stop()
    with sqlite3.connect(tmp_path / "ledger.db") as live, sqlite3.connect(tmp_path / "backup.db") as copy:
        live.backup(copy)
    live.close()
    copy.close()
    process = start_intake(topics)
    load.send(100)
    load.wait_until_kept(ledger)
    process.stop()
    shutil.move(tmp_path / "backup.db", tmp_path / "restored.db")
    restored = IntakeLedger(f"sqlite:///{tmp_path / 'restored.db'}")
    start_intake(topics, ledger_url=restored.database.url)
    load.wait_until_kept(restored)
    assert restored.ids() == ledger.ids()
