"""A loop of the fleet that waits is woken by what another one changes."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from serving.fleet.reconciler import Report
from serving.fleet.replica_reports import ReplicaReports

URL = "http://a"
LONG_S = 30.0


def test_a_new_report_wakes_who_waits() -> None:
    reports = ReplicaReports([URL])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reports.wait, 0, LONG_S)
        reports.add(Report(url=URL, base_name="base"))
        assert waiting.result(timeout=LONG_S / 2) == 1


def test_the_same_report_again_wakes_nobody() -> None:
    reports = ReplicaReports([URL])
    reports.add(Report(url=URL, base_name="base"))
    reports.add(Report(url=URL, base_name="base"))
    assert reports.wait(1, 0.0) == 1


def test_a_change_while_nobody_waited_is_not_missed() -> None:
    reports = ReplicaReports([URL])
    seen = reports.wait(0, 0.0)
    reports.tell()
    began_s = time.monotonic()
    assert reports.wait(seen, LONG_S) == seen + 1
    assert time.monotonic() - began_s < LONG_S / 2


def test_every_loop_that_waits_is_woken() -> None:
    reports, woken = ReplicaReports([URL]), threading.Barrier(4, timeout=LONG_S)

    def wait() -> None:
        reports.wait(0, LONG_S)
        woken.wait()

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(wait)
        reports.tell()
        woken.wait()
