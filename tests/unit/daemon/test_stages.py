import threading

import pytest

from daemon.stages import StageEnded, run_together


def test_asked_to_stop_all_stages_end_and_nothing_is_raised() -> None:
    stopping = threading.Event()
    ended: list[str] = []

    def stage(name: str) -> None:
        stopping.wait(10)
        ended.append(name)

    threading.Timer(0.05, stopping.set).start()
    run_together({"one": lambda: stage("one"), "two": lambda: stage("two")}, stopping)
    assert sorted(ended) == ["one", "two"]


def test_the_fault_of_one_stage_stops_the_others_and_is_raised() -> None:
    stopping = threading.Event()
    others_saw: list[bool] = []

    def fails() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        run_together({"fails": fails, "waits": lambda: others_saw.append(stopping.wait(10))}, stopping)
    assert others_saw == [True]


def test_a_stage_that_ends_by_itself_is_a_fault() -> None:
    stopping = threading.Event()
    with pytest.raises(StageEnded, match="quits"):
        run_together({"quits": lambda: None, "waits": lambda: stopping.wait(10) and None}, stopping)


def test_the_first_fault_is_raised_not_the_one_it_caused() -> None:
    stopping = threading.Event()

    def fails() -> None:
        raise OSError("first")

    def fails_when_stopped() -> None:
        stopping.wait(10)
        raise ValueError("second")

    with pytest.raises(OSError, match="first"):
        run_together({"second": fails_when_stopped, "first": fails}, stopping)
