"""The learner's loop: leases the agents whose feedback is due, trains them together, records the result.

Each pass is written to the ledger before it is trained, so a learner that dies leaves a pass that the next
one resumes as recorded. Everything that a learner writes is fenced by the lease it held.
"""

import threading
from collections.abc import Sequence

import structlog

from daemon.learning import metrics
from daemon.learning.learner import Learner, Stopped
from daemon.learning.pacing import gathering_s
from daemon.learning.scheduler import (
    Freshness,
    choose_agents,
    due_backlogs,
    next_turn,
    readiness,
    replies_of,
    shows_replies,
    waits_for_replies,
)
from daemon.learning.training import lease_tokens, train_pass
from daemon.learning.turns.planning import plan_turn
from daemon.learning.turns.staleness import set_useless_samples_aside
from ledger.database import Connection
from ledger.errors import LeaseLost, LedgerUnavailable, TurnVoid
from ledger.events import Status
from ledger.heartbeat import Leased, hold_leases
from ledger.learning import agents, backlog, event_queries, passes, turns, usage
from ledger.learning.agents import Agent
from ledger.learning.backlog import Backlog
from ledger.learning.passes import Pass
from ledger.learning.turns import TurnPlan

log = structlog.get_logger(__name__)

RETRY_S = 2.0
"""Pause after the ledger or the store was away."""


def learn(learner: Learner, stopping: threading.Event) -> None:
    """Give every agent whose feedback is due its turn, several at once, until told to stop."""
    metrics.start_counters()
    while not stopping.is_set():
        learner.show_life()
        began_s = learner.clock()
        try:
            worked = resume_pass(learner, stopping) or start_pass(learner, stopping)
        except (LedgerUnavailable, OSError) as fault:
            _pause(learner, fault, stopping)
        except LeaseLost:
            metrics.count_abandoned_pass()
            log.warning("pass abandoned, its leases were lost")
        except Stopped:
            log.info("pass left open for the next start")
        else:
            learner.health.ready("ledger", True)
            learner.health.ready("store", True)
            if not worked:  # as long as it counted at least: counting large backlogs leaves time to others
                stopping.wait(max(learner.options.idle_s, learner.clock() - began_s))


def resume_pass(learner: Learner, stopping: threading.Event) -> bool:
    """Finish the oldest pass that was opened and not closed, if its agents can be leased."""
    with learner.database.read() as connection:
        unfinished = passes.unfinished_passes(connection)
    for opened in unfinished:
        names = [turns.lease_name(turn.plan.agent) for turn in opened.turns if turn.is_open]
        with hold_leases(
            learner.database, names, holder=learner.holder, ttl_s=learner.options.lease_s
        ) as leased:
            if set(leased.tokens) != set(names):
                continue  # the learner that opened it is still alive
            passes.adopt_pass(learner.database, opened, lease_tokens(opened, leased))
            log.info("pass resumed", pass_id=opened.id, agents=len(names))
            train_pass(learner, opened, leased, stopping)
            return True
    return False


def start_pass(learner: Learner, stopping: threading.Event) -> bool:
    """Open a pass for the agents that are due and train it. Returns whether a pass was trained."""
    options, now_s = learner.options, learner.clock()
    with learner.database.read() as connection:
        if not learner.pacing.should_count(backlog.stamp(connection), now_s):
            return False
        waiting = backlog.backlogs(connection)
        due = due_backlogs(waiting, options.freshness)
        trained = usage.recent_costs(connection)
    gather_s = gathering_s(waiting, due, gather_s=options.gather_s)
    if not learner.pacing.has_gathered(len(due), now_s, gather_s=gather_s):
        return False
    if not _has_disk(learner):
        return False
    chosen = choose_agents(due, trained, slots=options.slots, age_s_max=options.freshness.age_s_max)
    names = [turns.lease_name(agent) for agent in chosen.agents]
    with hold_leases(learner.database, names, holder=learner.holder, ttl_s=options.lease_s) as leased:
        plans = _plan_turns(learner, leased)
        opened = _open_pass(learner, plans, chosen.virtual_time) if plans else None
        if opened is None:
            return False
        train_pass(learner, opened, leased, stopping)
    return True


def _pause(learner: Learner, fault: LedgerUnavailable | OSError, stopping: threading.Event) -> None:
    """Wait before the next try. Readiness is red meanwhile: people must see that no agent learns."""
    away = "ledger" if isinstance(fault, LedgerUnavailable) else "store"
    learner.health.ready(away, False, f"learning is paused: {type(fault).__name__}")
    log.warning("learning paused", away=away, fault=type(fault).__name__)
    stopping.wait(RETRY_S)


def _has_disk(learner: Learner) -> bool:
    shortage = learner.disk_shortage()
    learner.health.ready("disk", not shortage, shortage)
    if shortage:
        log.warning("no turn is started", why=shortage)
    return not shortage


def _plan_turns(learner: Learner, leased: Leased) -> Sequence[TurnPlan]:
    """A turn for every leased agent that is still due and has something to learn from."""
    plans: list[TurnPlan] = []
    marks: dict[int, tuple[Status, str]] = {}
    with learner.database.read() as connection:
        declared = agents.all_agents(connection).values()
    ours = [agent for agent in declared if turns.lease_name(agent.name) in leased.tokens]
    set_useless_samples_aside(learner.database, ours)
    with learner.database.read() as connection:
        by_agent = {own.agent: own for own in backlog.backlogs(connection)}
        for agent in ours:
            waiting = by_agent[agent.name]
            if not due_backlogs([waiting], learner.options.freshness):
                continue
            if _waits_for_replies(connection, agent, waiting, learner.options.freshness):
                continue
            planned = plan_turn(
                connection,
                agent,
                waiting,
                token=leased.tokens[turns.lease_name(agent.name)],
                limits=learner.options.limits,
                readiness=readiness(waiting, learner.options.freshness),
            )
            marks.update(planned.marks)
            if planned.plan is not None:
                plans.append(planned.plan)
    event_queries.mark(learner.database, marks)
    return plans


def _waits_for_replies(connection: Connection, agent: Agent, backlog: Backlog, freshness: Freshness) -> bool:
    """Whether the turn of an agent that is due waits for replies that must stay as they are."""
    if not shows_replies(agent) and not next_turn(backlog, freshness).needs_suite:
        return False
    replies = replies_of(connection, [backlog], freshness)[agent.name]
    return waits_for_replies(backlog, replies, freshness, captures=shows_replies(agent)) is not None


def _open_pass(learner: Learner, plans: Sequence[TurnPlan], virtual_time: float) -> Pass | None:
    """The pass, written to the ledger; None where an agent's feedback or parent changed meanwhile."""
    try:
        return passes.open_pass(
            learner.database,
            plans,
            holder=learner.holder,
            form=learner.engine.form(),
            virtual_time=virtual_time,
        )
    except TurnVoid as void:
        log.info("pass not opened", reason=str(void))
        return None
