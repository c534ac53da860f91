"""Each client may send large bodies at a rate; what it exceeds costs it time, and nobody else."""

from contextlib import suppress
from dataclasses import dataclass

import pytest

from serving.gateway.edge.byte_budget import BURST_S, CLIENTS_MAX, ByteBudget
from serving.gateway.edge.errors import RequestRefused

RATE = 1000


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def take_all(budget: ByteBudget, client: str, size: int, times: int) -> int:
    """How many of so many bodies were taken."""
    taken = 0
    for _ in range(times):
        with suppress(RequestRefused):
            budget.take(client, size)
            taken += 1
    return taken


def test_a_client_gets_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    budget = ByteBudget(RATE, clock)
    assert take_all(budget, "a", 500, 100) == BURST_S * RATE / 500
    clock.now_s += 3.0
    assert take_all(budget, "a", 500, 100) == 4  # the burst again, not three seconds of the rate
    clock.now_s += 0.6
    assert take_all(budget, "a", 500, 100) == 2


def test_a_body_larger_than_the_burst_is_taken_and_paid_off() -> None:
    clock = Clock()
    budget = ByteBudget(RATE, clock)
    budget.take("a", 10 * RATE)
    with pytest.raises(RequestRefused) as refusal:
        budget.take("a", 1)
    assert (refusal.value.status, refusal.value.reason) == (429, "body_rate")
    assert refusal.value.headers["retry-after"] == "9"
    clock.now_s += 8.1
    budget.take("a", 1)


def test_one_client_takes_nothing_from_another() -> None:
    budget = ByteBudget(RATE, Clock())
    take_all(budget, "a", 10 * RATE, 5)
    budget.take("b", 1)


def test_memory_is_bounded() -> None:
    budget = ByteBudget(RATE, Clock())
    for number in range(CLIENTS_MAX + 100):
        budget.take(str(number), 1)
    assert len(budget._used) == CLIENTS_MAX
