"""Chooses which agents learn next: pure functions over backlogs and counts, without clock or queue.

Training time is shared by weight, in tokens. Each agent has an account that grows by its trained tokens
divided by its weight; the smallest accounts go first (start-time fair queueing, Goyal, Vin & Cheng 1996).
Accounts are computed from the ledger, so every learner has the same ones, also after a restart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from daemon.learning.turns.parts import Readiness
from daemon.settings import Settings
from engine.recipe import recipe_from
from ledger.database import Connection
from ledger.learning.agents import NOT_YET, Agent
from ledger.learning.backlog import Backlog
from ledger.learning.retries import NextTry, next_try
from ledger.learning.silent_replies import StayingReplies, staying_replies
from ledger.learning.usage import TurnCost, Usage
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import BASE, version
from serving.fleet.questions import read_supporters
from serving.fleet.suite import suite_questions

_SUITE_LOOKED_AT = 32  # questions of a no-harm suite that are chosen to see whether there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """When feedback is due."""

    events_min: int  # untaught events that make an agent due
    age_s_max: float  # seconds after which the oldest event alone makes it due
    alpha: float  # of the gate: it decides how much evidence a turn needs to be worth its cost
    refusals_max: int  # candidates of one batch that may be refused; then it is divided
    suite_min: int  # prompts of the no-harm suite without which the gate abstains
    settle_s: float  # that people have to object to a captured reply
    authors_min: int  # people who must stand behind a correction


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenAgents:
    """The agents of the next pass, and the virtual time that the pass records."""

    agents: tuple[str, ...]
    virtual_time: float  # the smallest account among due agents and open turns; no agent starts below it


def freshness_of(settings: Settings) -> Freshness:
    """When feedback is due, by the settings."""
    learning = settings.learning
    return Freshness(
        events_min=learning.events_min,
        age_s_max=learning.age_s_max,
        alpha=settings.gate.alpha,
        refusals_max=learning.refusals_max,
        suite_min=settings.gate.suite_min,
        settle_s=learning.settle_s,
        authors_min=settings.gate.authors_min,
    )


def due_backlogs(backlogs: Sequence[Backlog], freshness: Freshness) -> list[Backlog]:
    """The backlogs of the agents that are due, the one that waited longest first.

    An agent is due with `events_min` untaught events (it may have a number of its own) *and* enough gate-
    role corrections to be judged, or once its oldest event is `age_s_max` old. Events that wait for another
    person count beside new ones: those may be what they wait for. After an abstention it also needs a new
    event. After a refusal it is due at once if there is another way to try and enough to judge that by
    (`ledger.learning.retries`), else it needs a new event too. An agent that no corrections judge needs none
    for it. An agent that has used its quota is not due, however old its feedback is.
    """
    ready = [backlog for backlog in backlogs if waiting_reason(backlog, freshness) is None]
    return sorted(ready, key=lambda backlog: (-backlog.oldest_age_s, backlog.agent))


def waiting_reason(backlog: Backlog, freshness: Freshness) -> str | None:
    """What the agent waits for, in words for people; None where it is due."""
    used = backlog.usage
    if backlog.is_learning:
        return "its turn to be over"
    if backlog.has_candidate:
        return "a verdict on its candidate"
    whole, upcoming = _whole_waits_for(backlog, freshness), next_turn(backlog, freshness)
    if whole is None or backlog.untaught == 0 or not upcoming.has_parts:
        return whole
    if used.wait_s > 0.0:
        return _quota(used)
    if upcoming.has_untried_parts and backlog.oldest_age_s >= freshness.age_s_max:
        return None
    return _shortage(backlog, freshness)


def waits_for_replies(
    backlog: Backlog, replies: StayingReplies, freshness: Freshness, *, captures: bool
) -> str | None:
    """What a turn waits for that is due otherwise, in words; None where it may start.

    The traffic of an agent that captures brings replies that nobody objects to: its turn waits for an anchor
    and a no-harm suite, until its oldest event is `age_s_max` old. One that is judged otherwise needs none.
    After an abstention for want of a suite the same turn would end alike, so it waits for one in any case.
    """
    if backlog.gate is not GateMode.CORRECTIONS:
        return None
    has_suite = replies.suite >= freshness.suite_min
    if next_turn(backlog, freshness).needs_suite and not has_suite:
        return f"a no-harm suite: {replies.suite} of {freshness.suite_min} replies"
    if not captures or backlog.oldest_age_s >= freshness.age_s_max or (has_suite and replies.anchors):
        return None
    minutes = math.ceil((freshness.age_s_max - backlog.oldest_age_s) / 60)
    return f"replies that nobody objects to, {minutes} min at most"


def shows_replies(agent: Agent) -> bool:
    """Whether the agent's turns show it captured replies that must stay as they are."""
    return agent.capture and recipe_from(agent.recipe).anchors_per_step > 0


class Lack(StrEnum):
    """What an agent with feedback may lack, so that it does not learn from it, or the gate cannot decide."""

    CAPTURES = "captures"
    OUTCOMES_GATE = "outcomes-gate"
    ANCHORS = "anchors"
    SUITE = "suite"
    EVIDENCE = "evidence"
    SECOND_AUTHOR = "second-author"


def lacks(
    backlog: Backlog, replies: StayingReplies, freshness: Freshness, *, captures: bool = True
) -> dict[Lack, str]:
    """What an agent with feedback lacks, each with what to do, in words for people."""
    if not backlog.untaught and not backlog.has_candidate:
        return {}
    if backlog.outcomes and not captures:
        text = "no captured answers: outcomes teach only what was captured; set `capture = true`"
        return {Lack.CAPTURES: text}
    if backlog.gate is not GateMode.CORRECTIONS:
        return {}
    if backlog.outcomes and _has_only_outcomes(backlog):
        text = 'no corrections to be judged by, only outcomes: set `gate = "outcomes"` for this agent'
        return {Lack.OUTCOMES_GATE: text}
    remedy = "send approvals of good answers, or set `capture = true` and let users talk to it"
    missing = {}
    if not replies.anchors:
        missing[Lack.ANCHORS] = f"no anchors: a turn may change what should stay as it is; {remedy}"
    if replies.suite < freshness.suite_min:
        missing[Lack.SUITE] = f"no no-harm suite: the gate will not promote what it cannot judge; {remedy}"
    if shortage := _shortage(backlog, freshness):
        missing[Lack.EVIDENCE] = (
            f"too few gate prompts ({shortage}): send more corrections, one in four is held out"
        )
    if alone := backlog.unconfirmed + backlog.gate_unconfirmed:
        missing[Lack.SECOND_AUTHOR] = (
            f"no second author: {alone} corrections of one person each wait; let somebody else correct alike,"
            " or set `gate.authors_min = 1`"
        )
    return missing


def replies_of(
    connection: Connection, backlogs: Sequence[Backlog], freshness: Freshness
) -> dict[str, StayingReplies]:
    """By agent, the replies that must stay as they are, counted as far as they matter here.

    After an abstention for want of a suite, an agent's suite is the one that the gate would ask now: the same
    turn would be trained in vain. Where the base serves and too few replies are known it is not looked at.
    """
    agent = backlogs[0].agent if len(backlogs) == 1 else None
    replies = staying_replies(
        connection, settle_s=freshness.settle_s, enough=max(1, freshness.suite_min), agent=agent
    )
    return {own.agent: _with_suite_asked(connection, own, replies[own.agent], freshness) for own in backlogs}


def _with_suite_asked(
    connection: Connection, backlog: Backlog, replies: StayingReplies, freshness: Freshness
) -> StayingReplies:
    """The same replies; where the agent needs a suite, with the number of questions that one would have."""
    last = backlog.last_try
    if last is None or not next_turn(backlog, freshness).needs_suite:
        return replies
    if backlog.champion == BASE and replies.suite < freshness.suite_min:
        return replies  # corrections are asked again of a champion only, so the suite has no more
    candidate = version(connection, backlog.agent, last.number)
    assert candidate is not None, "the gate abstained about it"
    supporters = read_supporters(connection, backlog.agent, authors_min=freshness.authors_min)
    questions = suite_questions(
        connection, candidate, supporters, limit=_SUITE_LOOKED_AT, settle_s=freshness.settle_s
    )
    return replace(replies, suite=len(questions))


def readiness(backlog: Backlog, freshness: Freshness) -> Readiness:
    """What the next turn of an agent that is due may be about."""
    return Readiness(
        upcoming=next_turn(backlog, freshness),
        needed=evidence_needed(backlog.refusals, alpha=freshness.alpha),
        is_overdue=backlog.oldest_age_s >= freshness.age_s_max,
        rest_is_due=_whole_waits_for(backlog, freshness) is None,
    )


def _whole_waits_for(backlog: Backlog, freshness: Freshness) -> str | None:
    """What a turn about all untaught events waits for, parts of refused batches left out."""
    used, upcoming = backlog.usage, next_turn(backlog, freshness)
    untaught = backlog.untaught - upcoming.in_parts
    if untaught <= 0:
        return _without_news(backlog)
    if not backlog.news and not upcoming.at_once:
        return "something new since its last try"
    if used.wait_s > 0.0:
        return _quota(used)
    shortage = _shortage(backlog, freshness)
    if upcoming.at_once and (shortage is None or not backlog.news):
        return shortage
    needed = freshness.events_min if backlog.events_min is None else backlog.events_min
    if needed == NOT_YET:
        return "the rest of its step"
    if backlog.oldest_age_s >= freshness.age_s_max:
        return None
    if (gathered := untaught + backlog.unconfirmed) < needed:
        return f"more events: {gathered} of {needed}"
    return shortage


def next_turn(backlog: Backlog, freshness: Freshness) -> NextTry:
    """How the agent's next turn differs from a first try."""
    return next_try(
        backlog.last_try,
        champion=backlog.champion,
        refusals=backlog.refusals,
        refusals_max=freshness.refusals_max,
    )


def _quota(used: Usage) -> str:
    minutes = math.ceil(used.wait_s / 60)
    return f"its quota, {minutes} min: {used.tokens:,} of {used.tokens_max:,} tokens in the last hour"


def _shortage(backlog: Backlog, freshness: Freshness) -> str | None:
    """How much evidence is missing; None if there is enough, or no corrections judge the agent."""
    if backlog.gate is not GateMode.CORRECTIONS:
        return None
    needed = evidence_needed(backlog.refusals, alpha=freshness.alpha)
    judging = backlog.gate_new + backlog.gate_unconfirmed
    return f"evidence: {judging} of {needed}" if judging < needed else None


def _has_only_outcomes(backlog: Backlog) -> bool:
    corrections = backlog.gate_new + backlog.gate_unconfirmed + backlog.unconfirmed
    return backlog.outcomes == backlog.untaught and not corrections


def _without_news(backlog: Backlog) -> str:
    alone = backlog.unconfirmed + backlog.gate_unconfirmed
    return f"a second person: {alone} corrections of one person each wait" if alone else "feedback"


def evidence_needed(refusals: int, *, alpha: float) -> int:
    """Gate-role corrections that the sign test needs to promote, and one more in case of a tie."""
    tries = refusals + 1
    return math.ceil(math.log2(tries * (tries + 1) / alpha)) + 1


def choose_agents(
    candidates: Sequence[Backlog], trained: Sequence[TurnCost], *, slots: int, age_s_max: float
) -> ChosenAgents:
    """At most `slots` agents: overdue agents first, then those with the smallest accounts.

    The age of feedback does not decide: an agent that sends more than its share always has the oldest
    feedback. An agent that was idle starts at the current virtual time, so it cannot save up idle time. The
    account of an agent that stays due is never moved. `trained` is in the order in which turns were opened.
    """
    accounts, virtual_time = _accounts(trained)
    start = {backlog.agent: max(accounts.get(backlog.agent, 0.0), virtual_time) for backlog in candidates}

    def order(backlog: Backlog) -> tuple[bool, float, float, str]:
        is_overdue = backlog.oldest_age_s >= age_s_max
        return (not is_overdue, start[backlog.agent], -backlog.oldest_age_s, backlog.agent)

    in_training = [accounts[turn.agent] for turn in trained if turn.is_open]
    smallest = min((*start.values(), *in_training), default=virtual_time)
    return ChosenAgents(
        agents=tuple(backlog.agent for backlog in sorted(candidates, key=order)[:slots]),
        virtual_time=max(virtual_time, smallest),
    )


def _accounts(trained: Sequence[TurnCost]) -> tuple[dict[str, float], float]:
    """Each agent's account, in tokens divided by weight, and the current virtual time."""
    accounts: dict[str, float] = {}
    for turn in trained:
        start = max(accounts.get(turn.agent, 0.0), turn.virtual_time)
        accounts[turn.agent] = start + turn.tokens / turn.weight
    return accounts, max((turn.virtual_time for turn in trained), default=0.0)
