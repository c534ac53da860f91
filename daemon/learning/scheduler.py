"""Who learns next: pure functions over backlogs. No clock, no queue, no database.

Training time is shared by weight in tokens: each agent's account grows by what it was trained on divided
by its weight, and the smallest accounts go first (start-time fair queueing, Goyal, Vin & Cheng 1996).
Accounts are what the ledger says was trained lately: a learner that starts anew, or a second, has the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.settings import Settings
from ledger.learning.backlog import Backlog
from ledger.learning.usage import Trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """When feedback is due."""

    events_min: int
    age_s_max: float
    alpha: float  # of the gate; how much evidence it needs decides when learning is worth it


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenAgents:
    """Whose turn it is, and what their pass is to remember of it."""

    agents: tuple[str, ...]
    virtual_time: float  # where the one stands that is due and was trained least; nobody starts below it


def freshness_of(settings: Settings) -> Freshness:
    """When feedback is due here."""
    learning = settings.learning
    return Freshness(events_min=learning.events_min, age_s_max=learning.age_s_max, alpha=settings.gate.alpha)


def due_backlogs(backlogs: Sequence[Backlog], freshness: Freshness) -> list[Backlog]:
    """The agents whose feedback is due, those that waited longest first.

    An agent is due with `events_min` untaught events *and* enough gate-role corrections to be judged, or
    once its oldest event is `age_s_max` old. After a refusal or an abstention it needs news as well; one
    that has used its quota is not due, however old its feedback is.
    """
    ready = [backlog for backlog in backlogs if waiting_reason(backlog, freshness) is None]
    return sorted(ready, key=lambda backlog: (-backlog.oldest_age_s, backlog.agent))


def waiting_reason(backlog: Backlog, freshness: Freshness) -> str | None:
    """What an agent waits for before it learns, in words for people; None where it is due."""
    used = backlog.usage
    if backlog.is_learning:
        return "its turn to be over"
    if backlog.has_candidate:
        return "a verdict on its candidate"
    if backlog.untaught == 0:
        return "feedback"
    if not backlog.news:
        return "something new since its last try"
    if used.wait_s > 0.0:
        return (
            f"its quota, {math.ceil(used.wait_s / 60)} min:"
            f" {used.tokens:,} of {used.tokens_max:,} tokens in the last hour"
        )
    if backlog.oldest_age_s >= freshness.age_s_max:
        return None
    if backlog.untaught < freshness.events_min:
        return f"more events: {backlog.untaught} of {freshness.events_min}"
    needed = evidence_needed(backlog.refusals, alpha=freshness.alpha)
    return f"evidence: {backlog.gate_new} of {needed}" if backlog.gate_new < needed else None


def evidence_needed(refusals: int, *, alpha: float) -> int:
    """Gate-role corrections without which the sign test cannot promote, and one to spare for a tie."""
    tries = refusals + 1
    return math.ceil(math.log2(tries * (tries + 1) / alpha)) + 1


def choose_agents(
    candidates: Sequence[Backlog], trained: Sequence[Trained], *, slots: int, age_s_max: float
) -> ChosenAgents:
    """At most `slots` agents: the overdue before the others, and the smallest accounts first.

    Not the longest waiting: an agent that sends more than its share always has the oldest feedback.
    `trained` is in the order the turns were opened in. Who was not due for a while starts where those stand
    who were: idleness is not saved up. Those who are due meanwhile are never moved, the overdue or not.
    """
    account, reached = _accounts(trained)
    start = {one.agent: max(account.get(one.agent, 0.0), reached) for one in candidates}

    def order(one: Backlog) -> tuple[bool, float, float, str]:
        late = one.oldest_age_s >= age_s_max
        return (not late, start[one.agent], -one.oldest_age_s, one.agent)

    in_service = {one.agent: account[one.agent] for one in trained if one.is_open}
    return ChosenAgents(
        agents=tuple(one.agent for one in sorted(candidates, key=order)[:slots]),
        virtual_time=max(reached, min((*start.values(), *in_service.values()), default=reached)),
    )


def _accounts(trained: Sequence[Trained]) -> tuple[dict[str, float], float]:
    """Each agent's tokens by weight, and the virtual time that was reached."""
    account: dict[str, float] = {}
    for one in trained:
        start = max(account.get(one.agent, 0.0), one.virtual_time)
        account[one.agent] = start + one.tokens / one.weight
    return account, max((one.virtual_time for one in trained), default=0.0)
