"""A loop that hangs is ended, one that comes round is left alone."""

import time
from threading import Event

from feedback.watchdog import Watchdog


def test_a_silent_loop_is_bitten_once():
    bites, bitten = [], Event()

    def bite():
        bites.append(True)
        bitten.set()

    with Watchdog(silent_s_max=0.1, bite=bite):
        assert bitten.wait(5.0)
        time.sleep(0.3)
    assert bites == [True]


def test_a_loop_that_comes_round_is_left_alone():
    bites = []
    with Watchdog(silent_s_max=1.0, bite=lambda: bites.append(True)) as dog:
        for _ in range(15):
            time.sleep(0.1)
            dog.alive()
    assert bites == []
