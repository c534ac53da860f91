"""Limits of a key: at once and within a minute."""

from collections.abc import Callable

import pytest

from ledger.access.rights import Grant
from serving.gateway.access.key_limits import KeyLimits
from serving.gateway.edge.errors import RequestRefused

KEY = "0123456789ab"


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> KeyLimits:
    return KeyLimits(clock)


def refusal(enter: Callable[[], None]) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        enter()
    assert refused.value.status == 429
    assert refused.value.body["error"] | {"message": ""} == {
        "message": "",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    return refused.value


def test_so_many_requests_at_once_and_no_more(limits: KeyLimits) -> None:
    grant = Grant(name="ann", concurrency_max=2)
    for _ in range(2):
        limits.enter(KEY, grant)
    assert refusal(lambda: limits.enter(KEY, grant)).reason == "key_concurrency"
    limits.enter("another key", grant)
    limits.leave(KEY)
    limits.enter(KEY, grant)


def test_so_many_requests_within_any_minute(limits: KeyLimits, clock: Clock) -> None:
    grant = Grant(name="ann", requests_per_minute_max=3)
    for pause_s in (0.0, 20.0, 20.0):
        clock.now_s += pause_s
        limits.enter(KEY, grant)
        limits.leave(KEY)
    refused = refusal(lambda: limits.enter(KEY, grant))
    assert (refused.reason, refused.headers["retry-after"]) == ("key_rate", "20")
    clock.now_s += 19.5
    assert refusal(lambda: limits.enter(KEY, grant)).headers["retry-after"] == "1"
    clock.now_s += 0.5
    limits.enter(KEY, grant)
    refusal(lambda: limits.enter(KEY, grant))


def test_a_client_that_is_refused_again_and_again_is_served_at_its_rate(
    limits: KeyLimits, clock: Clock
) -> None:
    grant, served = Grant(name="ann", requests_per_minute_max=6), 0
    for _ in range(600):
        clock.now_s += 0.5
        try:
            limits.enter(KEY, grant)
        except RequestRefused:
            continue
        served += 1
        limits.leave(KEY)
    assert served == 6 * 5


def test_a_refused_request_takes_no_place(limits: KeyLimits) -> None:
    grant = Grant(name="ann", concurrency_max=1, requests_per_minute_max=2)
    limits.enter(KEY, grant)
    for _ in range(5):
        assert refusal(lambda: limits.enter(KEY, grant)).reason == "key_concurrency"
    limits.leave(KEY)
    limits.enter(KEY, grant)
    limits.leave(KEY)
    assert refusal(lambda: limits.enter(KEY, grant)).reason == "key_rate"


def test_a_key_without_limits_is_not_counted(limits: KeyLimits) -> None:
    for _ in range(100):
        limits.enter(KEY, Grant(name="ann"))
    limits.leave(KEY)
    assert limits._uses == {}


def test_a_key_that_ended_its_requests_leaves_nothing_behind(limits: KeyLimits) -> None:
    grant = Grant(name="ann", concurrency_max=1)
    for _ in range(3):
        limits.enter(KEY, grant)
        limits.leave(KEY)
    assert limits._uses == {}
