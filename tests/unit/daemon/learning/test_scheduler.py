"""Who is due, and whose turn it is."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.learning.scheduler import (
    ChosenAgents,
    Freshness,
    Lack,
    choose_agents,
    due_backlogs,
    evidence_needed,
    lacks,
    readiness,
    waiting_reason,
    waits_for_replies,
)
from ledger.learning.agents import NOT_YET
from ledger.learning.backlog import Backlog
from ledger.learning.retries import BatchPart, LastTry, Retry
from ledger.learning.silent_replies import StayingReplies
from ledger.learning.usage import TurnCost, Usage
from ledger.versions.causes import Cause
from ledger.versions.decisions import Verdict
from ledger.versions.gate_modes import GateMode

FRESHNESS = Freshness(
    events_min=16, age_s_max=100.0, alpha=0.05, refusals_max=3, suite_min=0, settle_s=0.0, authors_min=1
)


def a_backlog(agent: str = "billing", **changes) -> Backlog:
    values = {
        "agent": agent,
        "champion": 0,
        "untaught": 20,
        "oldest_age_s": 1.0,
        "gate_new": 9,
        "refusals": 0,
        "news": True,
        "has_candidate": False,
    }
    return Backlog(**{**values, **changes})


def test_enough_feedback_and_enough_evidence_make_an_agent_due():
    assert due_backlogs([a_backlog()], FRESHNESS)


@pytest.mark.parametrize(
    "missing",
    [{"untaught": 15}, {"gate_new": 6}, {"has_candidate": True}, {"news": False}, {"untaught": 0}],
)
def test_an_agent_waits_while_something_is_missing(missing):
    assert not due_backlogs([a_backlog(**missing)], FRESHNESS)


def test_an_agent_with_a_batch_of_its_own_waits_for_just_that_many():
    batch = {"gate": GateMode.OFF, "gate_new": 0, "events_min": 4}
    assert due_backlogs([a_backlog(untaught=4, **batch)], FRESHNESS)
    assert waiting_reason(a_backlog(untaught=3, **batch), FRESHNESS) == "more events: 3 of 4"


def test_a_step_that_is_not_complete_makes_nobody_due_however_old_it_is():
    waiting = a_backlog(untaught=200, gate=GateMode.OFF, events_min=NOT_YET, oldest_age_s=1e6)
    assert waiting_reason(waiting, FRESHNESS) == "the rest of its step"


@pytest.mark.parametrize("scarce", [{"untaught": 1}, {"gate_new": 0}])
def test_an_old_event_makes_an_agent_due_with_little(scarce):
    assert due_backlogs([a_backlog(oldest_age_s=100.0, **scarce)], FRESHNESS)


SPENT = Usage(tokens=51_200, tokens_max=50_000, wait_s=661.0)


@pytest.mark.parametrize(
    "blocked", [{"news": False}, {"has_candidate": True}, {"is_learning": True}, {"usage": SPENT}]
)
def test_age_overrules_neither_a_candidate_nor_a_turn_nor_a_refusal_without_news_nor_a_quota(blocked):
    assert not due_backlogs([a_backlog(oldest_age_s=1e6, **blocked)], FRESHNESS)


@pytest.mark.parametrize("usage", [replace(SPENT, wait_s=0.0), Usage(tokens=10**9)])
def test_a_quota_that_has_room_again_and_none_at_all_hold_nobody(usage):
    assert due_backlogs([a_backlog(usage=usage)], FRESHNESS)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"untaught": 3}, "more events: 3 of 16"),
        ({"gate_new": 2}, "evidence: 2 of 7"),
        ({"gate_new": 7, "refusals": 1}, "evidence: 7 of 8"),
        ({"untaught": 0}, "feedback"),
        ({"news": False}, "something new since its last try"),
        ({"has_candidate": True}, "a verdict on its candidate"),
        ({"is_learning": True}, "its turn to be over"),
        ({"usage": SPENT}, "its quota, 12 min: 51,200 of 50,000 tokens in the last hour"),
        ({}, None),
        ({"untaught": 1, "gate_new": 0, "oldest_age_s": 100.0}, None),
    ],
)
def test_what_an_agent_waits_for_is_said_in_words(missing, reason):
    assert waiting_reason(a_backlog(**missing), FRESHNESS) == reason


@pytest.mark.parametrize(("refusals", "needed"), [(0, 7), (1, 8), (2, 9)])
def test_every_refusal_asks_for_more_evidence(refusals, needed):
    assert evidence_needed(refusals, alpha=0.05) == needed


def test_evidence_needed_can_decide_the_sign_test():
    for refusals in range(10):
        wins = evidence_needed(refusals, alpha=0.05) - 1
        tries = refusals + 1
        assert 0.5**wins <= 0.05 / (tries * (tries + 1))


@dataclass
class Sharing:
    """A ledger's turns, and what its agents were trained on."""

    weights: Mapping[str, float]
    slots: int = 1
    trained: list[TurnCost] = field(default_factory=list)

    def choose(self, candidates: Iterable[Backlog]) -> ChosenAgents:
        return choose_agents(list(candidates), self.trained, slots=self.slots, age_s_max=100.0)

    def open(self, candidates: Iterable[Backlog]) -> ChosenAgents:
        chosen = self.choose(candidates)
        self.trained += [self.turn(agent, 0, chosen.virtual_time, is_open=True) for agent in chosen.agents]
        return chosen

    def close(self, agent: str, tokens: int) -> None:
        [place] = [place for place, turn in enumerate(self.trained) if turn.agent == agent and turn.is_open]
        self.trained[place] = replace(self.trained[place], tokens=tokens, is_open=False)

    def teach(self, candidates: Iterable[Backlog], cost: Mapping[str, int]) -> tuple[str, ...]:
        """One pass over those who are due."""
        chosen = self.open(candidates)
        for agent in chosen.agents:
            self.close(agent, cost[agent])
        return chosen.agents

    def turn(self, agent: str, tokens: int, virtual_time: float, *, is_open: bool = False) -> TurnCost:
        weight = self.weights.get(agent, 1.0)
        return TurnCost(agent=agent, weight=weight, virtual_time=virtual_time, tokens=tokens, is_open=is_open)

    def share(self, agent: str) -> float:
        """Tokens by weight."""
        return sum(turn.tokens for turn in self.trained if turn.agent == agent) / self.weights[agent]

    def turn_max(self, agent: str) -> float:
        """Its dearest turn, in tokens by weight."""
        turns = [turn.tokens for turn in self.trained if turn.agent == agent]
        return max(turns, default=0) / self.weights[agent]


def equals(*agents: str, slots: int = 1) -> Sharing:
    return Sharing(dict.fromkeys(agents, 1.0), slots=slots)


def test_the_overdue_come_before_the_thrifty():
    share = equals("busy", "thrifty")
    share.trained.append(share.turn("busy", 10**9, 0.0))
    waiting = [a_backlog("thrifty"), a_backlog("busy", oldest_age_s=500.0)]
    assert share.choose(waiting).agents == ("busy",)


def test_where_everybody_is_overdue_the_oldest_feedback_does_not_win():
    """Who sends more than its share always has the oldest: it must not push the others aside with that."""
    cost = {"floods": 1000, "a": 100, "b": 100}
    share = equals(*cost)
    overdue = [a_backlog(name, oldest_age_s=900.0 if name == "floods" else 100.0) for name in cost]
    turns = [share.teach(overdue, cost) for _ in range(30)]
    assert turns.count(("floods",)) <= 3


def test_idleness_is_not_saved_up():
    share, cost = equals("early", "late"), {"early": 1000, "late": 1000}
    for _ in range(10):
        share.teach([a_backlog("early")], cost)
    turns = [share.teach([a_backlog("early"), a_backlog("late")], cost) for _ in range(10)]
    assert turns.count(("late",)) <= 6


def test_of_those_who_come_back_the_one_that_waited_longest_is_first_whatever_it_cost_before():
    share, cost = equals("busy", "cost", "cheap"), {"busy": 1000, "cost": 30, "cheap": 20}
    share.teach([a_backlog("cost")], cost)
    share.teach([a_backlog("cheap")], cost)
    for _ in range(3):
        share.teach([a_backlog("busy")], cost)
    assert share.choose([a_backlog("cheap"), a_backlog("cost", oldest_age_s=2.0)]).agents == ("cost",)


def test_a_second_learner_does_not_take_what_one_that_is_being_taught_would_be_next_for():
    """Who is in a turn is not idle: others that run ahead meanwhile do not move where it starts next."""
    share, cost = equals("slow", "ahead"), {"slow": 300, "ahead": 1000}
    share.open([a_backlog("slow")])
    for _ in range(3):
        share.teach([a_backlog("ahead")], cost)
    share.close("slow", 300)
    both = [a_backlog("slow"), a_backlog("ahead")]
    assert [share.teach(both, cost) for _ in range(5)] == [("slow",)] * 5


NAMES = "abcdef"
FEW = st.sets(st.sampled_from(NAMES), max_size=2)
TURNS = st.lists(st.tuples(FEW, FEW, st.integers(1, 10_000)), max_size=80)
"""Pass by pass: who is due, who of them is overdue, what a turn costs."""
WEIGHTS = st.fixed_dictionaries(dict.fromkeys(NAMES, st.sampled_from([0.25, 1.0, 2.0, 7.5])))


def backlogs(due_now: Iterable[str], overdue: Iterable[str]) -> list[Backlog]:
    late = set(overdue)
    return [a_backlog(name, oldest_age_s=100.0 if name in late else 1.0) for name in sorted(due_now)]


@settings(deadline=None)
@given(WEIGHTS, TURNS, st.booleans())
@example(weights=dict.fromkeys(NAMES, 1.0), passes=2 * [({"c"}, {"c"}, 10), (set(), set(), 10)], late=False)
def test_two_who_are_always_due_share_by_weight_whoever_else_comes_and_goes(weights, passes, late):
    """At every moment they differ by one turn at most, in tokens by weight."""
    share = Sharing(weights)
    for due_now, overdue, tokens in passes:
        overdue = overdue - {"a", "b"} | ({"a", "b"} if late else set())
        share.teach(backlogs(due_now | {"a", "b"}, overdue), dict.fromkeys(NAMES, tokens))
        turn_max = max(share.turn_max(name) for name in "ab")
        assert abs(share.share("a") - share.share("b")) <= turn_max * (1 + 1e-9)


@settings(deadline=None)
@given(WEIGHTS, TURNS, TURNS)
def test_who_was_not_due_gets_no_more_than_its_share_afterwards(weights, before, after):
    share = Sharing(weights)
    for due_now, overdue, tokens in before:
        share.teach(backlogs(due_now - {"a"} | {"b"}, overdue - {"b"}), dict.fromkeys(NAMES, tokens))
    stood = share.share("b")
    for due_now, overdue, tokens in after:
        share.teach(backlogs(due_now | {"a", "b"}, overdue - {"a", "b"}), dict.fromkeys(NAMES, tokens))
    turns_max = sum(share.turn_max(name) for name in "ab")
    assert share.share("a") <= (share.share("b") - stood + turns_max) * (1 + 1e-9)


@settings(deadline=None)
@given(WEIGHTS, TURNS, TURNS, st.integers(1, 3))
def test_nobody_overdue_is_passed_over_for_longer_than_the_others_need_to_catch_up(
    weights, before, after, slots
):
    share = Sharing(weights, slots=slots)
    for due_now, overdue, tokens in before:
        share.teach(backlogs(due_now, overdue), dict.fromkeys(NAMES, tokens))
    cheapest = min((tokens for *_, tokens in after), default=1)
    start = dict.fromkeys(NAMES, 0.0)
    for turn in share.trained:
        start[turn.agent] = max(start[turn.agent], turn.virtual_time) + turn.tokens / turn.weight
    reached = max((turn.virtual_time for turn in share.trained), default=0.0)
    gap = {name: max(0.0, max(start["a"], reached) - max(start[name], reached)) for name in NAMES}
    turns_max = sum(math.floor(gap[name] * weights[name] / cheapest) + 1 for name in NAMES if name != "a")
    for passed_over, (due_now, overdue, tokens) in enumerate(after, start=1):
        if "a" in share.teach(backlogs(due_now | {"a"}, overdue | {"a"}), dict.fromkeys(NAMES, tokens)):
            break
        assert passed_over * slots <= turns_max


@settings(deadline=None)
@given(WEIGHTS, TURNS, st.integers(0, 80))
def test_a_learner_that_remembers_the_last_turn_of_each_chooses_as_one_that_remembers_all(
    weights, passes, forgotten
):
    """What is older than the window is forgotten: a restart is no event, and neither is the window's edge."""
    share = Sharing(weights)
    for due_now, _, tokens in passes:
        share.teach(backlogs(due_now, ()), dict.fromkeys(NAMES, tokens))
    last = {turn.agent: place for place, turn in enumerate(share.trained)}
    some = share.trained[min(forgotten, min(last.values(), default=0)) :]
    everybody = backlogs(NAMES, ())
    assert order(everybody, some) == order(everybody, share.trained)


def order(candidates: Sequence[Backlog], trained: Sequence[TurnCost]) -> tuple[str, ...]:
    return choose_agents(candidates, trained, slots=len(candidates), age_s_max=math.inf).agents


REFUSED = LastTry(
    number=1,
    parent=0,
    retry=None,
    verdict=Verdict.REFUSE,
    by="gate",
    causes=frozenset({Cause.NOT_BETTER}),
    through_seq=40,
    new=tuple(range(20)),
)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"untaught": 1}, None),  # a retry is about the same events
        ({"gate_new": 7}, "evidence: 7 of 8"),
        ({"gate_new": 7, "oldest_age_s": 1e6}, "evidence: 7 of 8"),  # the gate could only abstain
        ({"refusals": 3}, "evidence: 9 of 10"),
        ({"last_try": replace(REFUSED, by="ann")}, "something new since its last try"),
        ({"usage": SPENT}, "its quota, 12 min: 51,200 of 50,000 tokens in the last hour"),
    ],
)
def test_after_a_refusal_another_try_needs_nothing_but_evidence(changed, reason):
    refused = {"refusals": 1, "news": False, "last_try": REFUSED}
    assert waiting_reason(a_backlog(**{**refused, **changed}), FRESHNESS) == reason


PARTS = (BatchPart(seqs=(1, 2, 3), after=1), BatchPart(seqs=(4, 5), after=1))
AFTER_A_PART = replace(REFUSED, verdict=Verdict.PROMOTE, retry=Retry(after=1, is_part=True, waiting=PARTS))


@pytest.mark.parametrize(
    ("changed", "reason", "rest_is_due"),
    [
        ({"untaught": 5}, None, False),  # only the parts are left
        ({"untaught": 5, "gate_new": 6}, "evidence: 6 of 7", False),
        (
            {"untaught": 5, "usage": SPENT},
            "its quota, 12 min: 51,200 of 50,000 tokens in the last hour",
            False,
        ),
        ({"untaught": 20, "news": True}, None, False),  # 15 are not enough for a turn of their own
        ({"untaught": 21, "news": True}, None, True),
        ({"untaught": 0}, "feedback", False),
    ],
)
def test_parts_of_a_refused_batch_need_evidence_and_what_is_new_beside_them_is_counted_apart(
    changed, reason, rest_is_due
):
    backlog = a_backlog(**{"champion": 1, "news": False, "last_try": AFTER_A_PART, **changed})
    assert waiting_reason(backlog, FRESHNESS) == reason
    assert readiness(backlog, FRESHNESS).rest_is_due == rest_is_due


STRICT = replace(FRESHNESS, suite_min=2, age_s_max=3600.0)
NOTHING, ENOUGH = StayingReplies(anchors=0, suite=0), StayingReplies(anchors=1, suite=2)
WITHOUT_SUITE = replace(REFUSED, verdict=Verdict.ABSTAIN, causes=frozenset({Cause.NO_SUITE}))


@pytest.mark.parametrize(
    ("replies", "captures", "changed", "reason"),
    [
        (NOTHING, False, {}, None),  # nothing is known to come
        (NOTHING, True, {}, "replies that nobody objects to, 60 min at most"),
        (StayingReplies(anchors=9, suite=1), True, {}, "replies that nobody objects to, 60 min at most"),
        (ENOUGH, True, {}, None),
        (NOTHING, True, {"oldest_age_s": 3600.0}, None),
        (NOTHING, False, {"last_try": WITHOUT_SUITE}, "a no-harm suite: 0 of 2 replies"),
        (NOTHING, True, {"last_try": WITHOUT_SUITE, "oldest_age_s": 1e6}, "a no-harm suite: 0 of 2 replies"),
        (ENOUGH, False, {"last_try": WITHOUT_SUITE}, None),
    ],
)
def test_a_turn_waits_for_what_must_stay_as_it_is_if_that_is_known_to_come(
    replies, captures, changed, reason
):
    backlog = a_backlog(**{"oldest_age_s": 1.0, **changed})
    assert waits_for_replies(backlog, replies, STRICT, captures=captures) == reason


def test_an_abstention_for_want_of_a_suite_is_followed_by_the_same_turn_without_news():
    backlog = a_backlog(last_try=WITHOUT_SUITE, news=False)
    assert waiting_reason(backlog, STRICT) is None
    assert readiness(backlog, STRICT).upcoming.retry is None


def test_what_an_agent_lacks_is_said_with_what_to_do():
    lines = list(lacks(a_backlog(gate_new=3, unconfirmed=4), NOTHING, STRICT).values())
    assert [line.split(":")[0] for line in lines] == [
        "no anchors",
        "no no-harm suite",
        "too few gate prompts (evidence",
        "no second author",
    ]
    assert lacks(a_backlog(), ENOUGH, STRICT) == {}
    assert lacks(a_backlog(untaught=0), NOTHING, STRICT) == {}, "nobody corrects it"


def test_an_agent_that_no_corrections_judge_waits_for_none_and_for_no_replies():
    judged = a_backlog(gate_new=0, gate=GateMode.OUTCOMES, outcomes=20)
    assert waiting_reason(judged, FRESHNESS) is None
    assert waits_for_replies(judged, NOTHING, STRICT, captures=True) is None
    assert lacks(judged, NOTHING, STRICT) == {}
    assert waiting_reason(a_backlog(untaught=5, gate=GateMode.OUTCOMES), FRESHNESS) == "more events: 5 of 16"


def test_an_agent_that_gets_only_outcomes_is_told_which_gate_judges_by_them():
    only = a_backlog(gate_new=0, outcomes=20)
    assert list(lacks(only, NOTHING, STRICT).values()) == [
        'no corrections to be judged by, only outcomes: set `gate = "outcomes"` for this agent'
    ]
    assert "set `gate" not in " ".join(lacks(a_backlog(gate_new=0, outcomes=19), NOTHING, STRICT).values())
    assert "set `gate" not in " ".join(lacks(a_backlog(gate_new=1, outcomes=20), NOTHING, STRICT).values())


def test_outcomes_that_nothing_was_captured_for_are_said_to_teach_nothing():
    uncaptured = a_backlog(gate=GateMode.OUTCOMES, outcomes=20)
    assert lacks(uncaptured, NOTHING, STRICT, captures=False)[Lack.CAPTURES].startswith("no captured answers")
