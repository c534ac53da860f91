"""The gateway opens no more connections than the operating system allows it."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, tuple(map(int, sys.argv[1:3])))
from serving.gateway.edge.file_limit import fit_to_file_limit
from serving.gateway.edge.limits import GatewayLimits
bounds = dict.fromkeys(GatewayLimits.__dataclass_fields__, 1)
limits = fit_to_file_limit(GatewayLimits(**bounds | {"connections_max": 2000, "requests_max": 1000}))
soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
print(json.dumps([soft, limits.connections_max, limits.requests_max]))
"""


def fitted(soft: int, hard: int) -> Any:
    """The new soft limit, connections and requests; in a process of its own, as no limit rises again."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(soft), str(hard)],
        cwd=Path(__file__).parents[5],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.skipif(
    0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4000, reason="this user may open few files"
)
def test_the_limit_is_raised_as_far_as_needed() -> None:
    soft, *allowed = fitted(256, 4000)
    assert allowed == [2000, 1000]
    assert 3000 < soft <= 4000


def test_with_too_low_a_limit_fewer_connections_are_taken() -> None:
    soft, connections, requests = fitted(256, 512)
    assert soft == 512
    assert 0 < connections + requests < 512 - 128
