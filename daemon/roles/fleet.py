"""The fleet role. One process leads: it loads and judges versions and sends the outbox; the others wait."""

import threading
from functools import partial

from daemon.learning.scheduler import freshness_of
from daemon.process.failpoints import Failpoints
from daemon.process.health import Health
from daemon.roles.canaries import canary_options
from daemon.roles.notices import notice_loops
from daemon.roles.scorers import registry_of
from daemon.roles.startup import cluster_of, configured_base_hash, declare_agents, lease_holder, open_ledger
from daemon.settings import Settings
from daemon.upkeep import retention
from daemon.upkeep.ledger_metrics import record_ledger_metrics
from feedback import outbox
from feedback.redaction import RedactionCounts, Redactor
from feedback.tracing import name_ledger
from ledger.identity import ensure_identity
from serving.canary.watching import run_canaries
from serving.fleet.answers import AskingOptions
from serving.fleet.gate import GateLimits
from serving.fleet.judging import JudgingOptions
from serving.fleet.leader import FleetOptions, build_fleet, run_fleet
from serving.fleet.own_scores import ScoringOptions
from serving.fleet.reconciler import ReplicaOptions
from serving.fleet.suite import SUITE_COUNTED_MAX, suite_questions
from serving.rejudging.causes import RejudgingOptions
from serving.rejudging.looking import run_looks


def run(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Lead the fleet while this process holds the lease, until told to stop."""
    with open_ledger(settings, stopping, health) as database:
        declare_agents(settings, database)
        identity = ensure_identity(database)
        name_ledger(identity.ledger_id)
        redactor = Redactor(identity.fingerprint)
        failpoint = Failpoints(settings.failpoint)
        canary = canary_options(settings)
        own_fleet = build_fleet(
            database,
            settings.fleet.replicas,
            _options(settings),
            suite=partial(
                suite_questions, limit=settings.gate.suite_max, settle_s=settings.learning.settle_s
            ),
            whole_suite=partial(
                suite_questions, limit=SUITE_COUNTED_MAX, settle_s=settings.learning.settle_s
            ),
            redact=lambda text: redactor.text(text, RedactionCounts()),
            health=health,
            api_keys=settings.fleet.replica_keys(),
            scorers=registry_of(settings),
            failpoint=failpoint,
        )
        publisher = outbox.Publisher(cluster_of(settings), identity.ledger_id)
        rejudging = RejudgingOptions(growth=settings.rejudge.growth, alpha=settings.rejudge.alpha)
        days = settings.ledger.interactions_days
        run_fleet(
            own_fleet,
            stopping,
            leader_loops={
                "outbox": lambda over: outbox.run(database, publisher, over, reached=failpoint),
                "retention": lambda over: retention.run(database, days, over),
                "champions": lambda over: run_looks(own_fleet.judging, rejudging, over),
                "canaries": lambda over: run_canaries(database, canary, over),
                "ledger-metrics": lambda over: record_ledger_metrics(database, freshness_of(settings), over),
                **notice_loops(settings, database),
            },
        )


def _options(settings: Settings) -> FleetOptions:
    """What the settings say about the fleet."""
    gate = settings.gate
    return FleetOptions(
        store=settings.store.path,
        base_hash=configured_base_hash(settings),
        holder=lease_holder(),
        # A second more than the longest answer: routing must have moved before anything is unloaded.
        replica=ReplicaOptions(
            adapters_max=settings.fleet.adapters_max,
            unload_after_s=settings.fleet.request_s_max + 1.0,
        ),
        judging=JudgingOptions(
            limits=GateLimits(
                alpha=gate.alpha,
                kl_nats_max=gate.kl_nats_max,
                authors_min=gate.authors_min,
                suite_min=gate.suite_min,
            ),
            asking=AskingOptions(tokens_max=gate.answer_tokens_max, in_flight_max=gate.in_flight_max),
            scoring=ScoringOptions(
                wait_s_max=gate.scorer_s_max,
                total_s_max=gate.scoring_s_max,
                in_flight_max=gate.in_flight_max,
            ),
            canary=canary_options(settings),
            image=settings.rejudge.image,
        ),
    )
