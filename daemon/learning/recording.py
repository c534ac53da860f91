"""Records what a trained turn became: a version on disk and in the ledger, or the reason for none."""

from collections.abc import Mapping
from contextlib import suppress

import structlog

from daemon.learning import metrics
from daemon.learning.event_results import event_results
from daemon.learning.learner import Learner
from daemon.learning.preparing import PreparedTurn
from engine.adapter_files import VersionTaken, publish
from engine.adapter_store import draft_of
from engine.lesson import Learned, NotLearned
from engine.manifest import Manifest, NewerManifest, write_manifest
from ledger.errors import TurnVoid
from ledger.learning import turns
from ledger.learning.turns import Turn
from ledger.turn_states import EventResult, TurnState
from ledger.versions.lineage import Version, version_name

log = structlog.get_logger(__name__)


def record_turn(
    learner: Learner, turn: Turn, prepared: PreparedTurn, result: Learned | NotLearned, *, token: int
) -> None:
    """Close the turn in the ledger, fenced by `token`: made, dropped or void.

    A directory in the store that has the version's name and other content makes the turn void. The next turn
    of the agent has another number, so its version has another name.
    """
    if isinstance(result, NotLearned) and result.again:
        void_turn(learner, turn, token=token, reason=result.reason)
        return
    results = event_results(prepared, result)
    outcomes = [event_result.outcome for event_result in results.values()]
    try:
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
        version = _make_version(learner, turn, prepared, result, token, results)
    except TurnVoid as void:
        void_turn(learner, turn, token=token, reason=str(void))
        return
    except (VersionTaken, NewerManifest) as refusal:
        log.error("version not published", agent=turn.plan.agent, turn=turn.id, reason=str(refusal))
        void_turn(learner, turn, token=token, reason=str(refusal))
        return
    tokens = result.metrics.tokens + result.tokens_beside
    metrics.count_closed_turn(TurnState.MADE, result, tokens, outcomes)
    log.info(
        "version made",
        agent=version.agent,
        version=version.name,
        steps=result.metrics.steps,
        clipped_share=result.metrics.clipped_share,
        gap_nats=result.metrics.gap_nats,
        truncated_share=result.metrics.truncated_share,
    )


def void_turn(learner: Learner, turn: Turn, *, token: int, reason: str) -> None:
    """Close a turn that can no longer become a version, unless another learner has closed it."""
    log.info("turn void", agent=turn.plan.agent, turn=turn.id, reason=reason)
    with suppress(TurnVoid):
        turns.void_turn(learner.database, turn, token=token, reason=reason)
        metrics.count_void_turn()


def _make_version(
    learner: Learner,
    turn: Turn,
    prepared: PreparedTurn,
    learned: Learned,
    token: int,
    results: Mapping[int, EventResult],
) -> Version:
    """Write the version directory, then the row that makes it a version.

    Raises `TurnVoid`, and `VersionTaken` or `NewerManifest` if the store has another directory of that name.
    """
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
        tries=learned.tries,
        files=files.sha256,
        content_hash=files.content_hash,
        probes=learner.engine.probes(learned, prepared.lesson),
    )
    write_manifest(draft, manifest)
    publish(draft, draft.with_name(name))
    learner.failpoint("learner-renamed")
    version = turns.record_version(
        learner.database,
        turn,
        token=token,
        content_hash=files.content_hash,
        base_hash=learner.engine.base_hash,
        path=f"{turn.plan.agent}/{name}",
        tokens=learned.metrics.tokens + learned.tokens_beside,
        results=results,
    )
    learner.failpoint("learner-recorded")
    return version
