"""Trains a recorded pass: prepares its turns, runs the engine, and has every open turn recorded."""

import threading
import time

import structlog

from daemon.learning import metrics
from daemon.learning.learner import Learner, Stopped
from daemon.learning.preparing import prepare_turn
from daemon.learning.recording import record_turn, void_turn
from feedback.tracing import version_root
from ledger.heartbeat import Leased
from ledger.learning import turns
from ledger.learning.passes import Pass

log = structlog.get_logger(__name__)


def train_pass(learner: Learner, opened: Pass, leased: Leased, stopping: threading.Event) -> None:
    """Train a pass as recorded, then record a version or a reason for every turn that is open.

    Raises `Stopped` or `LeaseLost` between two steps; the pass stays open then.
    """
    tokens = lease_tokens(opened, leased)
    if learner.engine.differs(opened.form):
        for turn in opened.turns:
            if turn.is_open:
                reason = "this learner trains in another form"
                void_turn(learner, turn, token=tokens[turn.plan.agent], reason=reason)
        return
    prepared_turns = [prepare_turn(learner.database, learner.store, turn) for turn in opened.turns]

    def between_steps() -> None:
        learner.show_life()
        leased.check()
        if stopping.is_set():
            raise Stopped
        learner.failpoint("learner-training")

    log.info("pass started", pass_id=opened.id, agents=[turn.plan.agent for turn in opened.turns])
    began_s, token_budget = learner.clock(), learner.engine.token_budget
    began_unix_s = time.time()
    results = learner.engine.learn(
        [prepared.lesson for prepared in prepared_turns], heartbeat=between_steps, form=opened.form
    )
    ran_out_of_memory = learner.engine.token_budget < token_budget
    took_s = learner.clock() - began_s
    metrics.count_pass(len(opened.turns), took_s=took_s, ran_out_of_memory=ran_out_of_memory)
    for turn, prepared, result in zip(opened.turns, prepared_turns, results, strict=True):
        if turn.is_open:
            agent = turn.plan.agent
            with version_root(agent, turn.number, traces=prepared.traces, began_s=began_unix_s):
                record_turn(learner, turn, prepared, result, token=tokens[agent])


def lease_tokens(opened: Pass, leased: Leased) -> dict[str, int]:
    """The fencing token of every agent of the pass that is leased, by the agent's name."""
    by_agent = {turn.plan.agent: turns.lease_name(turn.plan.agent) for turn in opened.turns}
    return {agent: leased.tokens[name] for agent, name in by_agent.items() if name in leased.tokens}
