"""The learner role: leases the agents whose feedback is due and trains them on its one accelerator."""

import threading
from typing import TYPE_CHECKING

import structlog

from daemon.learning.engine_loading import EngineRefused, load_engine
from daemon.learning.learner import Learner, LearnerOptions
from daemon.learning.loop import learn
from daemon.learning.scheduler import freshness_of
from daemon.learning.turns.material import TurnLimits
from daemon.process.failpoints import Failpoints
from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.roles.startup import declare_agents, lease_holder, open_ledger
from daemon.settings import Settings, StoreSettings
from daemon.upkeep.capacity import build_capacity
from engine.store_access import StoreRefused, prepare_store
from feedback.tracing import name_ledger
from ledger.database import Database
from ledger.identity import ensure_identity

if TYPE_CHECKING:
    from engine.warm_engine import WarmEngine

log = structlog.get_logger(__name__)


def run(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Load the base model, then train due agents until told to stop."""
    with open_ledger(settings, stopping, health) as database:
        declare_agents(settings, database)
        name_ledger(ensure_identity(database).ledger_id)
        _prepare_store(settings.store)
        health.ready("engine", False, "loading the base model")
        try:
            engine = load_engine(settings.engine)
        except EngineRefused as refusal:
            raise RoleRefused(str(refusal)) from None
        if engine.frozen_linears:
            log.warning(
                "only the attention of this base is adapted", not_adapted=sorted(engine.frozen_linears)
            )
        health.ready("engine", True)
        learn(_build_learner(settings, database, engine, health), stopping)


def _prepare_store(settings: StoreSettings) -> None:
    try:
        prepare_store(settings.path, settings.group)
    except StoreRefused as refusal:
        raise RoleRefused(str(refusal)) from None
    except OSError as fault:  # it may come back; the pass that needs it waits
        log.warning("store away", fault=type(fault).__name__)


def _build_learner(settings: Settings, database: Database, engine: "WarmEngine", health: Health) -> Learner:
    learning = settings.learning
    return Learner(
        database=database,
        engine=engine,
        store=settings.store.path,
        holder=lease_holder(),
        options=LearnerOptions(
            freshness=freshness_of(settings),
            limits=TurnLimits(
                new_max=learning.events_max,
                replay_max=learning.replay_max,
                anchors_max=learning.anchors_max,
                settle_s=learning.settle_s,
                authors_min=settings.gate.authors_min,
            ),
            slots=settings.engine.slots,
            gather_s=learning.gather_s,
        ),
        failpoint=Failpoints(settings.failpoint),
        health=health,
        disk_shortage=build_capacity(settings, database).disk_shortage,
    )
