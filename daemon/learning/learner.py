"""The learner: what its loop works with, and what an operator decides about it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from daemon.learning.pacing import Pacing
from daemon.learning.planning import TurnLimits
from daemon.learning.scheduler import Freshness
from daemon.process.health import Health
from engine.backend import Backend
from ledger.database import Database

STEP_S_MAX = 900.0
"""How long a learner may be silent before it counts as hung: a hung learner renews its leases for ever, and
its agents learn no more. A step takes seconds; preparing or saving many turns takes minutes."""


class Stopped(Exception):
    """The role was asked to stop in the middle of a pass; the next start resumes the pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerOptions:
    """What the operator decides about learning, and two intervals of the loop."""

    freshness: Freshness
    limits: TurnLimits
    slots: int  # agents in one pass at most
    gather_s: float  # how long the first due agent waits for others
    idle_s: float = 0.5  # pause when no agent is due
    lease_s: float = 8.0  # silence after which another learner may take the agents


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """Everything the loop works with. One learner per accelerator."""

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
        """Tell the health port that the loop, or the pass, goes on."""
        self.health.alive("learner", age_s_max=STEP_S_MAX)
