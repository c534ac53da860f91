"""What the attack benchmark calls unnoticed."""

import asyncio
import json
import time
from typing import Any

import pytest

from bench.attack import Honest, in_time, result, within_bars
from bench.replica import choice, prepared_answer

UNNOTICED: dict[str, Any] = {
    "gateway_alive": True,
    "others_failed": 0,
    "feedback_lost": 0,
    "feedback_given_up": 0,
    "rss_growth_mib": 64.0,
    "others_latency_ratio_p99": 9.0,
    "others_latency_ms_p99": 30.0,
}


def test_an_attack_is_unnoticed_when_others_wait_briefly_or_hardly_longer_than_before() -> None:
    assert within_bars(UNNOTICED)
    assert within_bars({**UNNOTICED, "others_latency_ms_p99": 500.0, "others_latency_ratio_p99": 3.0})
    assert not within_bars({**UNNOTICED, "others_latency_ms_p99": 31.0, "others_latency_ratio_p99": 3.1})


@pytest.mark.parametrize(
    "seen",
    [
        {"gateway_alive": False},
        {"others_failed": 1},
        {"feedback_lost": 1},
        {"feedback_given_up": 1},
        {"rss_growth_mib": 64.1},
    ],
)
def test_whatever_else_others_notice_counts(seen: dict[str, Any]) -> None:
    assert not within_bars({**UNNOTICED, **seen})


def test_without_any_answer_others_wait_for_ever() -> None:
    assert Honest().p99_ms == float("inf")
    assert Honest(ms=[float(ms) for ms in range(1, 101)]).p99_ms == 100.0


def test_the_result_names_the_attacks_for_which_there_was_no_time() -> None:
    attacks = ["floods", "large_bodies"]
    assert result([UNNOTICED, UNNOTICED], attacks)["left_out"] == []
    in_part = result([UNNOTICED], attacks)
    assert (in_part["passed"], in_part["left_out"]) == (True, ["large_bodies"])
    assert not result([], attacks)["passed"], "nothing was measured"


def test_a_gateway_that_died_fails_the_benchmark() -> None:
    assert not result([{**UNNOTICED, "gateway_alive": False}], ["floods", "large_bodies"])["passed"]


def test_a_measurement_ends_when_the_time_is_over() -> None:
    async def measurement() -> Honest:
        await asyncio.sleep(60.0)
        return Honest()

    with pytest.raises(TimeoutError):
        asyncio.run(in_time(measurement(), time.monotonic() + 0.01))


@pytest.mark.parametrize("asks", [True, False])
def test_a_prepared_answer_has_the_tokens_of_the_usual_one(asks: bool) -> None:
    prepared = json.loads(prepared_answer(50_000, asks_for_tokens=asks))
    wanted = {"logprobs": asks, "return_token_ids": asks}
    assert prepared["choices"] == [choice(slice(None), wanted, key="message")]
    assert len(prepared["prompt_token_ids"] or []) == (50_000 if asks else 0)
