"""The learner: the parts that its loop uses, and the options that an operator sets."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from daemon.learning.pacing import Pacing
from daemon.learning.scheduler import Freshness
from daemon.learning.turns.material import TurnLimits
from daemon.process.health import Health
from engine.backend import Backend
from ledger.database import Database

STEP_S_MAX = 900.0
"""Seconds without a report after which a learner counts as hung: it would renew its leases for ever, and no
other learner could train its agents. A step takes seconds; preparing or saving many turns takes minutes."""


class Stopped(Exception):
    """The role was asked to stop in the middle of a pass; the next start resumes the pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerOptions:
    """The operator's options for learning, and two intervals of the loop."""

    freshness: Freshness
    limits: TurnLimits
    slots: int  # agents in one pass at most
    gather_s: float  # how long the first due agent waits for others
    idle_s: float = 0.1  # pause when no agent is due
    lease_s: float = 8.0  # silence after which another learner may take the agents


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """Everything that the loop uses. There is one learner for each accelerator."""

    database: Database
    engine: Backend
    store: Path
    holder: str  # its name in leases
    options: LearnerOptions
    failpoint: Callable[[str], None]
    health: Health = field(default_factory=Health)
    pacing: Pacing = field(default_factory=Pacing)
    clock: Callable[[], float] = time.monotonic
    disk_shortage: Callable[[], str] = lambda: ""  # why no version could be written now; empty: it could

    def show_life(self) -> None:
        """Report to the health port that the loop, or the pass, goes on."""
        self.health.alive("learner", age_s_max=STEP_S_MAX)
