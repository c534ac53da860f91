"""Waits for a version to answer users, and reads what clorad's commands print."""

import json
import time
from typing import Any

from examples.house_rules.stack import Stack


def wait_until_it_serves(stack: Stack, agent: str, prefix: str, *, wait_s_max: float) -> float:
    """Returns the seconds it took. After `wait_s_max` it raises, with the output of `clorad status`."""
    began_s = time.monotonic()
    while not stack.routed(agent).startswith(prefix):
        if time.monotonic() - began_s > wait_s_max:
            raise AssertionError(f"{prefix} of {agent} is not served:\n{stack.clorad('status')}")
        assert not stack.faults()
        time.sleep(0.1)
    return time.monotonic() - began_s


def clorad_json(stack: Stack, *words: str) -> Any:
    """What `clorad WORDS --json` prints."""
    return json.loads(stack.clorad(*words, "--json"))
