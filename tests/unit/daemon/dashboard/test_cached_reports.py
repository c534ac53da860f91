"""Reports are read once for many viewers, seldom where reading takes long, and anew after a change."""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from daemon.dashboard.cached_reports import (
    COST_SHARE_MAX,
    FRESH_S,
    LIFETIME_S_MAX,
    STALE_S_MAX,
    ReportCache,
    StillReading,
)


class Clock:
    """A clock that stands still between calls of `pass_s`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Iterator[ReportCache]:
    with closing(ReportCache(clock)) as opened:
        yield opened


class Counter:
    """Counts how often the report was read; a read takes `cost_s` of the clock."""

    def __init__(self, clock: Clock, cost_s: float = 0.0) -> None:
        self.clock, self.cost_s, self.reads = clock, cost_s, 0
        self.was_read = threading.Event()

    def __call__(self) -> int:
        self.reads += 1
        self.clock.pass_s(self.cost_s)
        self.was_read.set()
        return self.reads


def test_a_fresh_report_is_not_read_again(cache: ReportCache, clock: Clock) -> None:
    read = Counter(clock)
    assert [cache.get("status", read) for _ in range(3)] == [1, 1, 1]
    assert cache.get("status", read, "another key") == 2


def test_an_older_report_is_shown_while_the_next_is_read(cache: ReportCache, clock: Clock) -> None:
    read = Counter(clock)
    cache.get("status", read)
    read.was_read.clear()
    clock.pass_s(FRESH_S + 0.1)
    assert cache.get("status", read) == 1
    assert read.was_read.wait(10)


def test_a_report_that_is_too_old_is_waited_for(cache: ReportCache, clock: Clock) -> None:
    read = Counter(clock)
    cache.get("status", read)
    clock.pass_s(FRESH_S + STALE_S_MAX + 0.1)
    assert cache.get("status", read) == 2


def test_reading_takes_at_most_its_share_of_the_time(cache: ReportCache, clock: Clock) -> None:
    read = Counter(clock, cost_s=1.0)
    cache.get("status", read)
    clock.pass_s(1.0 / COST_SHARE_MAX - 1.1)
    assert cache.get("status", read) == 1
    assert read.reads == 1


def test_after_a_change_everything_is_read_anew(cache: ReportCache, clock: Clock) -> None:
    read = Counter(clock)
    cache.get("status", read)
    cache.forget()
    assert cache.get("status", read) == 2


def test_a_read_that_began_before_a_change_is_not_kept(cache: ReportCache, clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()
    read = Counter(clock)

    def read_slowly() -> int:
        begun.set()
        assert go_on.wait(10)
        return read()

    waiting = threading.Thread(target=cache.get, args=("status", read_slowly))
    waiting.start()
    assert begun.wait(10)
    cache.forget()
    go_on.set()
    waiting.join(10)
    assert cache.get("status", read) == 2


def test_a_fault_is_raised_and_not_kept(cache: ReportCache, clock: Clock) -> None:
    def fail() -> int:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        cache.get("status", fail)
    assert cache.get("status", Counter(clock)) == 1


def test_who_asks_first_is_told_that_the_report_is_being_read_and_gets_it_later() -> None:
    may_read, was_read = threading.Event(), threading.Event()

    def read() -> int:
        may_read.wait(60)
        was_read.set()
        return 7

    with closing(ReportCache(first_wait_s=0.0)) as cache:
        for _ in range(2):
            with pytest.raises(StillReading):
                cache.get("status", read)
        may_read.set()
        assert was_read.wait(60)
        for _ in range(6000):
            with suppress(StillReading):
                assert cache.get("status", read) == 7
                return
            threading.Event().wait(0.01)
    raise AssertionError("the report was never there")


def test_what_was_begun_in_the_background_is_read_once(cache: ReportCache, clock: Clock) -> None:
    read = Counter(clock)
    cache.begin("status", read)
    assert cache.get("status", read) == 1
    cache.begin("status", read)
    assert read.reads == 1


def test_however_long_reading_takes_a_report_is_read_again_after_its_longest_lifetime(
    cache: ReportCache, clock: Clock
) -> None:
    read = Counter(clock, cost_s=60.0)
    cache.get("status", read)
    read.was_read.clear()
    clock.pass_s(LIFETIME_S_MAX + 0.1)
    cache.get("status", read)
    assert read.was_read.wait(60)
