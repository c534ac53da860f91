"""Asks a Kafka cluster again while it cannot answer yet."""

import time
from collections.abc import Callable
from typing import TypeVar

from kafka import errors

from feedback.backoff import Backoff

Answer = TypeVar("Answer")

PASSING_S_MAX = 15.0
"""Seconds in which a cluster that elects a leader is asked again."""


def ask_again(ask: Callable[[], Answer], *, wait_s_max: float = PASSING_S_MAX) -> Answer:
    """What `ask` answers, asked again while a broker answers that it cannot say so yet.

    Such are leaders that move and controllers that change. A broker that does not answer is not asked again:
    the client waited for it already. Raises the last fault, and any other.
    """
    until_s, backoff = time.monotonic() + wait_s_max, Backoff(s_max=2.0)
    while True:
        try:
            return ask()
        except errors.RetriableError as fault:
            if not isinstance(fault, errors.BrokerResponseError) or time.monotonic() > until_s:
                raise
        time.sleep(backoff.next_s())
