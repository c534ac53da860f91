"""The learner role: lease the agents whose feedback is due, teach them together, record what came of it.

Everything is written down before it is trained, so a learner that dies leaves a pass that the next one
resumes as recorded; everything it writes is fenced by the lease it held.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from daemon.learning import metrics
from daemon.learning.event_results import event_results
from daemon.learning.pacing import Pacing
from daemon.learning.planning import TurnLimits, plan_turn
from daemon.learning.preparing import PreparedTurn, prepare_turn
from daemon.learning.scheduler import Freshness, choose_agents, due_backlogs
from engine.adapter_files import publish
from engine.adapter_store import draft_of
from engine.backend import Backend
from engine.lesson import Learned, NotLearned
from engine.manifest import Manifest, write_manifest
from ledger.database import Database
from ledger.errors import LeaseLost, LedgerUnavailable, TurnVoid
from ledger.events import Status
from ledger.heartbeat import Leased, held
from ledger.learning import agents, backlog, event_queries, passes, turns, usage
from ledger.learning.passes import Pass
from ledger.learning.turns import Turn, TurnPlan
from ledger.turn_states import EventResult, TurnState
from ledger.versions.lineage import Version, version_name

log = structlog.get_logger(__name__)

STEP_S_MAX = 900.0
"""A learner that says nothing for so long hangs: its leases would be renewed for ever, and its agents learn
no more. A step takes seconds; preparing many turns of a large base, or saving them, minutes."""

RETRY_S = 2.0
"""Pause after the ledger or the store was away."""


class Stopped(Exception):
    """The role was asked to stop in the middle of a pass; the pass is resumed at the next start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerOptions:
    """What the operator decides about learning, and how often a learner looks."""

    freshness: Freshness
    limits: TurnLimits
    slots: int
    gather_s: float
    idle_s: float = 0.5  # between looks at the backlog when nothing is due
    lease_s: float = 8.0  # of silence, after which others may take its agents


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """Everything the loop works with. One per accelerator."""

    database: Database
    engine: Backend
    store: Path
    holder: str
    options: LearnerOptions
    failpoint: Callable[[str], None]
    look: Pacing = field(default_factory=Pacing)
    clock: Callable[[], float] = time.monotonic
    alive: Callable[[], None] = lambda: None  # told that the loop, or the pass, goes on
    no_disk: Callable[[], str] = lambda: ""  # why no version could be written now; empty: it could


def learn(learner: Learner, stopping: threading.Event) -> None:
    """Give every agent whose feedback is due its turn, several at once, until told to stop."""
    metrics.start_counters()
    while not stopping.is_set():
        learner.alive()
        try:
            worked = resume_pass(learner, stopping) or start_pass(learner, stopping)
        except (LedgerUnavailable, OSError) as fault:
            log.warning("learning paused", fault=type(fault).__name__)
            stopping.wait(RETRY_S)
        except LeaseLost:
            metrics.count_abandoned_pass()
            log.warning("pass abandoned, its leases were lost")
        except Stopped:
            log.info("pass left open for the next start")
        else:
            if not worked:
                stopping.wait(learner.options.idle_s)


def resume_pass(learner: Learner, stopping: threading.Event) -> bool:
    """Finish the oldest pass that was opened and not closed, if its agents can be leased."""
    with learner.database.read() as connection:
        unfinished = passes.unfinished_passes(connection)
    for opened in unfinished:
        names = [turns.lease_name(turn.plan.agent) for turn in opened.turns if turn.is_open]
        with held(learner.database, names, holder=learner.holder, ttl_s=learner.options.lease_s) as leased:
            if set(leased.tokens) != set(names):
                continue  # whoever opened it is still alive
            passes.adopt_pass(learner.database, opened, _by_agent(opened, leased))
            log.info("pass resumed", pass_id=opened.id, agents=len(names))
            teach(learner, opened, leased, stopping)
            return True
    return False


def start_pass(learner: Learner, stopping: threading.Event) -> bool:
    """Open a pass for the agents that are due and teach them. Returns whether any was."""
    options, now_s = learner.options, learner.clock()
    with learner.database.read() as connection:
        if not learner.look.is_due(backlog.stamp(connection), now_s):
            return False
        waiting = due_backlogs(backlog.backlogs(connection), options.freshness)
        trained = usage.lately(connection)
    if not learner.look.has_gathered(now_s, anybody=bool(waiting), gather_s=options.gather_s):
        return False
    if why := learner.no_disk():
        log.warning("no turn is started", why=why)
        return False
    chosen = choose_agents(waiting, trained, slots=options.slots, age_s_max=options.freshness.age_s_max)
    names = [turns.lease_name(agent) for agent in chosen.agents]
    with held(learner.database, names, holder=learner.holder, ttl_s=options.lease_s) as leased:
        opened = _open(learner, leased, chosen.virtual_time)
        if opened is None:
            return False
        teach(learner, opened, leased, stopping)
    return True


def teach(learner: Learner, opened: Pass, leased: Leased, stopping: threading.Event) -> None:
    """Train a pass as recorded and record a version, or a reason, for every turn that is open."""
    tokens = _by_agent(opened, leased)
    if learner.engine.differs(opened.form):
        for turn in opened.turns:
            if turn.is_open:
                _void(learner, turn, tokens[turn.plan.agent], "this learner trains in another form")
        return
    prepared = [prepare_turn(learner.database, learner.store, turn) for turn in opened.turns]

    def between_steps() -> None:
        learner.alive()
        leased.check()
        if stopping.is_set():
            raise Stopped
        learner.failpoint("learner-training")

    log.info("pass started", pass_id=opened.id, agents=[turn.plan.agent for turn in opened.turns])
    began_s, budget = learner.clock(), learner.engine.token_budget
    results = learner.engine.learn(
        [one.lesson for one in prepared], heartbeat=between_steps, form=opened.form
    )
    short = learner.engine.token_budget < budget
    metrics.count_pass(len(opened.turns), took_s=learner.clock() - began_s, ran_out_of_memory=short)
    for turn, lesson, result in zip(opened.turns, prepared, results, strict=True):
        if turn.is_open:
            _record(learner, turn, lesson, result, tokens[turn.plan.agent])


def _open(learner: Learner, leased: Leased, virtual_time: float) -> Pass | None:
    """Plan and write a turn for every leased agent that is still due."""
    plans: list[TurnPlan] = []
    marks: dict[int, tuple[Status, str]] = {}
    with learner.database.read() as connection:
        known = agents.all_agents(connection)
        by_agent = {one.agent: one for one in backlog.backlogs(connection)}
        for name, agent in known.items():
            token = leased.tokens.get(turns.lease_name(name))
            if token is None or not due_backlogs([by_agent[name]], learner.options.freshness):
                continue
            planned = plan_turn(connection, agent, by_agent[name], token=token, limits=learner.options.limits)
            marks.update(planned.marks)
            if planned.plan is not None:
                plans.append(planned.plan)
    event_queries.mark(learner.database, marks)
    if not plans:
        return None
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


def _record(
    learner: Learner, turn: Turn, prepared: PreparedTurn, result: Learned | NotLearned, token: int
) -> None:
    results = event_results(prepared, result)
    outcomes = [event.outcome for event in results.values()]
    try:
        if isinstance(result, NotLearned) and result.again:
            _void(learner, turn, token, result.reason)
            return
        if isinstance(result, NotLearned):
            turns.drop_turn(
                learner.database,
                turn,
                token=token,
                reason=result.reason,
                tokens=result.tokens,
                results=results,
            )
            metrics.count_closed_turn(TurnState.DROPPED, result, result.tokens, outcomes)
            log.info("turn dropped", agent=turn.plan.agent, turn=turn.id, reason=result.reason)
            return
        made = _keep(learner, turn, prepared, result, token, results)
    except TurnVoid as void:
        _void(learner, turn, token, str(void))
        return
    metrics.count_closed_turn(TurnState.MADE, result, result.metrics.tokens, outcomes)
    log.info("version made", agent=made.agent, version=made.name, steps=result.metrics.steps)


def _keep(
    learner: Learner,
    turn: Turn,
    prepared: PreparedTurn,
    learned: Learned,
    token: int,
    results: Mapping[int, EventResult],
) -> Version:
    """Write the version directory, then the row that makes it a version."""
    draft = draft_of(learner.store, turn.plan.agent, turn_id=turn.id, token=token)
    files = learner.engine.save(learned, draft)
    name = version_name(turn.number, files.content_hash)
    manifest = Manifest(
        agent=turn.plan.agent,
        version=name,
        parent=None if prepared.parent is None else prepared.parent.name,
        base_hash=learner.engine.base_hash,
        tokenizer_hash=learner.engine.tokenizer_hash,
        turn=str(turn.id),
        pass_id=str(turn.pass_id),
        events=prepared.uids,
        recipe=turn.plan.recipe,
        seed=turn.plan.seed,
        metrics=learned.metrics,
        files=files.sha256,
        content_hash=files.content_hash,
        probes=learner.engine.probes(learned, prepared.lesson),
    )
    write_manifest(draft, manifest)
    publish(draft, draft.with_name(name))
    learner.failpoint("learner-renamed")
    made = turns.record_version(
        learner.database,
        turn,
        token=token,
        content_hash=files.content_hash,
        base_hash=learner.engine.base_hash,
        path=f"{turn.plan.agent}/{name}",
        tokens=learned.metrics.tokens,
        results=results,
    )
    learner.failpoint("learner-recorded")
    return made


def _void(learner: Learner, turn: Turn, token: int, reason: str) -> None:
    """Close a turn that can no longer become a version, unless somebody else has closed it."""
    log.info("turn void", agent=turn.plan.agent, turn=turn.id, reason=reason)
    with suppress(TurnVoid):
        turns.void_turn(learner.database, turn, token=token, reason=reason)
        metrics.count_void_turn()


def _by_agent(opened: Pass, leased: Leased) -> dict[str, int]:
    return {
        turn.plan.agent: leased.tokens[turns.lease_name(turn.plan.agent)]
        for turn in opened.turns
        if turns.lease_name(turn.plan.agent) in leased.tokens
    }
