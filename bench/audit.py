"""Measures how long `clorad audit` takes on a ledger that a benchmark has filled."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def audit_s(url: str, bootstrap: str, folder: Path) -> float:
    """Seconds from the command's start to its end, with its questions to the broker.

    Raises `CalledProcessError` where the audit finds something. `folder` has no clorad.toml, so all other
    settings have their defaults.
    """
    settings = {"CLORAD_LEDGER__URL": url, "CLORAD_KAFKA__BOOTSTRAP_SERVERS": bootstrap}
    began_s = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "daemon", "audit", "--json"],
        env=dict(os.environ) | settings | {"PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - began_s
