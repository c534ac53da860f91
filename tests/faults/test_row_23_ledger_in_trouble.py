"""Row 23. A ledger that is slow, locked, full or read-only: intake waits and goes on by itself."""

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("locked_s", [2.0, 20.0])
def test_row_23_a_locked_ledger_is_waited_for(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake, tmp_path: Path, locked_s: float
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start_intake(topics)
    load.send(50)
    load.wait_until_kept(ledger)
    placed = process.log.read_text().count("partition placed")
    lock = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    load.send(100)
    time.sleep(locked_s)
    lock.execute("ROLLBACK")
    lock.close()
    load.wait_until_kept(ledger)
    assert process.log.read_text().count("partition placed") == placed, "it kept its partitions"
    assert set(ledger.dead_letter_reasons()) == {"invalid_json"}, "the ledger's trouble makes no dead letters"


def test_row_23_a_full_disk_is_waited_for(
    kafka: RealKafka, start_intake: StartIntake, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("a small file system cannot be mounted here")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], check=False)
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        ledger = IntakeLedger(f"sqlite:///{small / 'ledger.db'}")
        topics = kafka.create_all()
        load = Load(kafka, topics.feedback)
        process = start_intake(topics, ledger_url=ledger.database.url)
        load.send(50)
        load.wait_until_kept(ledger)
        filler = small / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as output:
            while True:
                output.write(b"\0" * 4096)
        load.send(200)
        wait_until(lambda: process.has_logged("READY ledger False"))
        assert process.ended is None
        filler.unlink()
        load.wait_until_kept(ledger)
        assert set(ledger.dead_letter_reasons()) == {"invalid_json"}
        process.stop()
        ledger.database.close()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_row_23_a_ledger_that_cannot_be_written_is_waited_for(
    kafka: RealKafka, ledger: IntakeLedger, start_intake: StartIntake, tmp_path: Path
) -> None:
    topics = kafka.create_all()
    load = Load(kafka, topics.feedback)
    process = start_intake(topics, file_bytes_max=600_000)  # writing further fails, as with a quota
    load.send(2000)
    wait_until(lambda: process.has_logged("READY ledger False"), wait_s=60)
    assert process.ended is None
    ledger.check_ranges()
    process.stop()
    start_intake(topics)
    load.wait_until_kept(ledger)
