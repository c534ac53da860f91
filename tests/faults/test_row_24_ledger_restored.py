"""Row 24. A ledger restored from an old backup takes its offsets back with it: the same is taken in again."""

import shutil
import sqlite3

import pytest

from ledger.identity import ensure_identity
from tests.faults.load import Load
from tests.unit.feedback.taking_in import Books

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("backed_up_after", [0, 100])
def test_row_24_an_old_backup_catches_up(kafka, kept, start, tmp_path, backed_up_after):
    ensure_identity(kept.database)
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    if backed_up_after:
        process = start(topics)
        load.say(backed_up_after)
        load.arrives(kept)
        process.stop()
    with sqlite3.connect(tmp_path / "ledger.db") as live, sqlite3.connect(tmp_path / "backup.db") as copy:
        live.backup(copy)
    live.close()
    copy.close()
    process = start(topics)
    load.say(100)
    load.arrives(kept)
    process.stop()
    shutil.move(tmp_path / "backup.db", tmp_path / "restored.db")
    restored = Books(f"sqlite:///{tmp_path / 'restored.db'}")
    start(topics, ledger=restored.database.url)
    load.arrives(restored)
    assert restored.ids() == kept.ids()
