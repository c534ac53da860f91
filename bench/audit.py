"""How long an operator waits for `clorad audit` on a ledger that a benchmark has filled."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def audit_s(url: str, bootstrap: str, folder: Path) -> float:
    """Seconds from the command's start to its end, asking the broker included. It must find nothing wrong.

    `folder` holds no settings: what is not given here is the default.
    """
    settings = {"CLORAD_LEDGER__URL": url, "CLORAD_KAFKA__BOOTSTRAP_SERVERS": bootstrap}
    begun_s = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "daemon", "audit", "--json"],
        env=dict(os.environ) | settings | {"PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - begun_s
