"""What became of each new event of a turn, from what the engine did with the turn's episodes."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from daemon.learning.preparing import PreparedTurn
from engine.lesson import Learned, NotLearned, RefusedEvents
from ledger.turn_states import EventOutcome, EventResult
from rewards.episode import Part

_TRAINED = EventResult(outcome=EventOutcome.TRAINED)
_ALREADY_KNOWN = EventResult(outcome=EventOutcome.ALREADY_KNOWN)
_NOTHING_TO_TEACH = EventResult(outcome=EventOutcome.NOT_USED, reason="nothing to teach")


def event_results(prepared: PreparedTurn, result: Learned | NotLearned) -> dict[int, EventResult]:
    """The result of each new event, by its number in the ledger.

    An event is trained if any of its episodes was; the reason then says what of it could not be. Where the
    engine learned nothing, only events that can never be trained on, or that the agent knew, have a result.
    """
    episodes = [episode for episode in prepared.lesson.episodes if episode.part is Part.NEW]
    with_episodes = frozenset(uid for episode in episodes for uid in episode.events)
    untrained = {
        uid: EventResult(outcome=EventOutcome.BARREN, reason=refused.reason)
        for refused in result.refused
        for uid in refused.events
    }
    untrained |= dict.fromkeys(result.already_known, _ALREADY_KNOWN)
    episode_counts = Counter(uid for episode in episodes for uid in episode.events)
    trainable = episode_counts.copy()  # episodes left by event
    trainable.subtract(result.already_known)
    trainable.subtract(uid for refused in result.refused for uid in refused.events)
    results = {
        seq: untrained[uid] for uid, seq in prepared.new.items() if uid in untrained and trainable[uid] <= 0
    }
    if isinstance(result, Learned):
        for uid, seq in prepared.new.items():
            trained = _trained(uid, result.refused, of=episode_counts[uid])
            results.setdefault(seq, trained if uid in with_episodes else _NOTHING_TO_TEACH)
    return results


def _trained(uid: str, refused: Iterable[RefusedEvents], *, of: int) -> EventResult:
    """The result of an event that was trained, with the reason why some of its `of` episodes were not."""
    reasons = [refusal.reason for refusal in refused if uid in refusal.events]
    if not reasons:
        return _TRAINED
    why = "; ".join(sorted(set(reasons)))
    return replace(_TRAINED, reason=f"without {len(reasons)} of its {of} episodes: {why}")
