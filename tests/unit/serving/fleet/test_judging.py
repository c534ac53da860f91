"""From a candidate to a verdict, with a real ledger and fake replicas whose answers the test sets."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from ledger.errors import FlipRefused
from ledger.events import Event, Kind, Role
from ledger.learning.backlog import backlogs
from ledger.learning.candidate_states import candidate_states
from ledger.learning.event_queries import usable
from ledger.versions import canary, decisions, desired, lineage
from ledger.versions.acting.reinstating import reinstate
from ledger.versions.decisions import BY_NOBODY, BY_OUTCOMES, Verdict
from ledger.versions.desired import Purpose
from ledger.versions.evidence import Answers, Evidence, LiveComparison
from ledger.versions.gate_modes import GateMode
from ledger.versions.promotion import confirm, roll_back
from ledger.versions.routing import routing
from serving.fleet.answers import Interrupted
from serving.fleet.judging import Judging, judge_candidates, promote_candidates
from serving.fleet.questions import questions_of
from serving.fleet.reconciler import Reconciler, versions_to_hold
from serving.fleet.replica import Replica
from serving.fleet.replica_reports import ReplicaReports
from serving.fleet.version_check import VersionChecker
from serving.scoring.own import NoScore, Scored
from serving.scoring.registry import ScorerRegistry
from serving.scoring.verifier import ConversationVerifier
from tests.canary_options_builder import build_canary_options
from tests.unit.engine.measurements import build_metrics
from tests.unit.ledger import turn_builder
from tests.unit.ledger.event_builder import build_event, build_outcome, build_retraction
from tests.unit.serving.fleet.options_builder import (
    build_judging_options,
    build_limits,
    build_replica_options,
)
from tests.unit.serving.scoring.scorer_builder import build_scoring_server
from tests.unit.serving.serving_environment import BASE_HASH, ServingEnvironment

Bench = Callable[..., "JudgingSetup"]


class JudgingSetup:
    """Judging with its replicas; `step` runs one round of the reconcilers and of judging."""

    def __init__(
        self, environment: ServingEnvironment, scorers: ScorerRegistry | None = None, **options
    ) -> None:
        self.environment = environment
        self.replicas = {fake.url: Replica(fake.url) for fake in environment.replicas}
        self.reports = ReplicaReports(self.replicas)
        checker = VersionChecker(environment.store, BASE_HASH)
        self.reconcilers = [
            Reconciler(replica, checker, build_replica_options()) for replica in self.replicas.values()
        ]
        self.suite_events = []
        self.reached: list[str] = []
        self.judging = Judging(
            database=environment.database,
            reports=self.reports,
            checker=checker,
            replicas=self.replicas,
            suite=lambda connection, *_: questions_of(connection, self.suite_events),
            whole_suite=lambda connection, *_: questions_of(connection, self.suite_events),
            redact=lambda text: text,
            options=build_judging_options(**{"placing_s_max": 0.0, **options}),
            scorers=scorers or ScorerRegistry(wait_s_max=5.0),
            failpoint=self.reached.append,
        )

    def reconcile(self) -> None:
        with self.environment.database.read() as connection:
            rows = desired.wanted(connection)
        self.reports.set_serving(
            frozenset(row.version.model for row in rows if row.purpose is Purpose.SERVE and row.version)
        )
        for reconciler in self.reconcilers:
            versions = versions_to_hold(rows, url=reconciler.url, usable=self.reports.usable())
            self.reports.add(reconciler.reconcile(versions))

    def step(self) -> bool:
        self.reconcile()
        promoted = promote_candidates(self.judging, threading.Event())
        return judge_candidates(self.judging, threading.Event()) or promoted

    def run(self, steps: int = 6) -> None:
        for _ in range(steps):
            self.step()

    def run_until(self, verdict: Verdict) -> None:
        for _ in range(10):
            if verdict in [decision.verdict for decision in self.decisions()]:
                return
            self.step()
        raise AssertionError(f"no {verdict.value} in ten steps")

    def decisions(self, agent: str = "billing"):
        with self.environment.database.read() as connection:
            return decisions.decisions_of(connection, agent)[1:]  # without `initial`

    def serving(self, agent: str = "billing") -> int:
        with self.environment.database.read() as connection:
            return desired.champion(connection, agent)

    def close(self) -> None:
        for replica in self.replicas.values():
            replica.close()


@pytest.fixture
def bench(environment: ServingEnvironment) -> Iterator[Callable[..., JudgingSetup]]:
    setups: list[JudgingSetup] = []

    def make(**options) -> JudgingSetup:
        setups.append(JudgingSetup(environment, **options))
        return setups[-1]

    yield make
    for setup in setups:
        setup.close()


def number_in(messages) -> int:
    """Of the prompt `ask N`; 0 for the prompts of probes."""
    word = messages[-1]["content"].split()[-1]
    return int(word) if word.isdigit() else 0


def knows(*learned: str):
    """The answers of a fake replica: to `ask N` these adapters say `right N`, all other models `wrong N`."""

    def reply_function(path: str, messages) -> str:
        word = "right" if any(name in path for name in learned) else "wrong"
        return messages[-1]["content"].replace("ask", word)

    return reply_function


@pytest.fixture
def billing(environment: ServingEnvironment) -> ServingEnvironment:
    environment.agent("billing")
    environment.replica(reply_function=knows("v1-"))
    return environment


def test_a_better_candidate_is_promoted_with_its_evidence(billing, bench):
    gate = billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    judge = bench()
    judge.run()
    assert judge.serving() == candidate.number
    canary, promoted = judge.decisions()
    assert (canary.verdict, promoted.verdict) == (Verdict.CANARY, Verdict.PROMOTE)
    evidence = promoted.evidence
    assert evidence.judgement.wins == 8
    assert {pair.event for pair in evidence.gate} == {event.uid for event in gate}
    assert evidence.answers[gate[0].uid] == Answers(before="wrong 1", after="right 1")
    assert list(evidence.replicas) == [billing.replicas[0].url]
    assert promoted.through_seq == candidate.through_seq
    assert judge.reached == ["fleet-swapping"]


def keep_keyed_corrections(environment: ServingEnvironment, count: int) -> list[Event]:
    """Gate corrections `ask 100` and so on, each with a key; no version was trained on these prompts."""
    events = []
    for n in range(count):
        data = {
            "messages": [{"role": "user", "content": f"ask {100 + n}"}],
            "rejected": "no",
            "corrected": f"right {100 + n}",
        }
        events.append(build_event(f"g{n}", role=Role.GATE, key=f"k{n}", data=data))
    environment.say(*events)
    return events


def no(number: int) -> Event:
    return build_outcome(f"no{number}", -1.0, amends=f"k{number}", role=None, prompt_group=None)


def test_withdrawn_corrections_are_not_asked(billing, bench):
    gate = keep_keyed_corrections(billing, 11)
    billing.candidate("billing")
    billing.say(build_retraction("r", "g0"), no(1))
    judge = bench()
    judge.run()
    decision = judge.decisions()[-1]
    assert decision.verdict is Verdict.PROMOTE
    assert {pair.event for pair in decision.evidence.gate} == {event.uid for event in gate[2:]}


@pytest.mark.parametrize("winner", ["v1-", "nobody"])
def test_a_correction_withdrawn_while_it_is_asked_does_not_count(billing, bench, winner):
    gate = keep_keyed_corrections(billing, 9)
    billing.candidate("billing")
    asked = []

    def reply_function(path, messages):
        asked.append(messages[-1]["content"])
        if asked.count("ask 105") == 1 and asked[-1] == "ask 105":
            billing.say(no(3))
        if winner == "nobody" and "v1-" in path:
            return "word " * 400
        return knows(winner)(path, messages)

    billing.replicas[0].reply_function = reply_function
    judge = bench()
    judge.run()
    first = judge.decisions()[0]
    assert first.verdict is (Verdict.CANARY if winner == "v1-" else Verdict.REFUSE)
    assert {pair.event for pair in first.evidence.gate} == {event.uid for event in gate if event.id != "g3"}


def test_a_correction_withdrawn_before_the_promotion_makes_the_gate_abstain(billing, bench):
    keep_keyed_corrections(billing, 9)
    billing.candidate("billing")
    judge = bench()
    judge.run_until(Verdict.CANARY)
    billing.say(no(3))
    judge.run()
    assert judge.serving() == lineage.BASE
    last = judge.decisions()[-1]
    assert last.verdict is Verdict.ABSTAIN
    assert last.evidence.reasons == ("1 of the events it was judged by were taken back meanwhile",)


def test_receipts_show_what_was_taught_too(billing, bench):
    [taught] = billing.corrections("billing", 1, role=Role.TRAIN)
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    judge = bench()
    judge.run()
    assert judge.decisions()[-1].evidence.answers[taught.uid] == Answers(before="wrong 1", after="right 1")


def test_a_candidate_is_asked_only_once_a_replica_holds_it(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    judge = bench()
    assert judge.step(), "it is wanted for the gate"
    assert not judge_candidates(judge.judging, threading.Event()), "and waits for a replica"
    judge.reconcile()
    assert judge.reports.holders(candidate.model)
    assert judge.step()
    assert judge.serving() == lineage.BASE


def test_too_little_evidence_is_an_abstention_and_the_agent_waits_for_news(billing, bench):
    billing.corrections("billing", 3, role=Role.GATE)
    billing.candidate("billing")
    judge = bench()
    judge.run()
    [decision] = judge.decisions()
    assert decision.verdict is Verdict.ABSTAIN
    assert judge.serving() == lineage.BASE
    with billing.database.read() as connection:
        [waiting] = backlogs(connection)
        assert desired.wanted(connection)[0].purpose is Purpose.SERVE
        assert len(desired.wanted(connection)) == 1
    assert not waiting.news
    assert waiting.refusals == 0


def test_a_candidate_no_better_than_the_champion_is_refused(billing, bench):
    for _ in range(2):
        billing.corrections("billing", 6, role=Role.GATE)
    billing.replicas[0].reply_function = lambda path, messages: messages[-1]["content"].replace(
        "ask", "right" if ("v1-" in path) == (number_in(messages) % 2 == 0) else "wrong"
    )
    billing.candidate("billing")
    judge = bench()
    judge.run()
    [decision] = judge.decisions()
    assert decision.verdict is Verdict.REFUSE
    assert decision.evidence.reasons[0].startswith("not better: 6 wins, 6 losses")


def test_every_refusal_makes_the_next_try_harder(billing, bench):
    judge = bench()
    billing.corrections("billing", 6, role=Role.GATE)
    loops = ("v1-", "v2-")
    billing.replicas[0].reply_function = lambda path, _: (
        "word " * 400 if any(name in path for name in loops) else "right 0"
    )
    for number in (1, 2):
        billing.candidate("billing")
        judge.run()
        assert judge.decisions()[-1].verdict is Verdict.REFUSE, number
    billing.replicas[0].reply_function = knows("v3-")
    billing.candidate("billing")
    judge.run()
    decision = judge.decisions()[-1]
    assert decision.evidence.attempt == 3
    assert decision.verdict is Verdict.ABSTAIN, "six wins are not enough at the third try"


def test_harm_to_approved_replies_is_refused_whatever_was_gained(billing, bench):
    billing.corrections("billing", 9, role=Role.GATE)
    approved = billing.corrections("billing", 6, role=Role.GATE, kind=Kind.APPROVE)
    billing.candidate("billing")
    judge = bench()
    with billing.database.read() as connection:
        judge.suite_events = usable(connection, "billing", role=Role.GATE, kinds=[Kind.APPROVE])
    spoilt = {event.data["messages"][0]["content"] for event in approved[:3]}

    def reply_function(path, messages):
        asked = messages[-1]["content"]
        is_approved = number_in(messages) > 9
        good = (asked not in spoilt) if "v1-" in path else is_approved
        return asked.replace("ask", "right" if good else "wrong")

    billing.replicas[0].reply_function = reply_function
    judge.run()
    [decision] = judge.decisions()
    assert decision.verdict is Verdict.REFUSE
    assert decision.evidence.reasons == ("harm: 3 of 6 prompts became worse, 0 better",)
    assert [pair.again for pair in decision.evidence.suite].count((1.0, 0.0)) == 3


@pytest.mark.parametrize(
    ("sampled", "verdict"), [("Goodbye, friend.", Verdict.PROMOTE), ("Hello, friend.", Verdict.REFUSE)]
)
def test_a_short_reply_is_a_decision_only_where_the_champion_repeats_it(billing, bench, sampled, verdict):
    billing.corrections("billing", 9, role=Role.GATE)
    billing.corrections("billing", 6, role=Role.GATE, kind=Kind.APPROVE)
    billing.candidate("billing")
    judge = bench()
    with billing.database.read() as connection:
        approved = questions_of(
            connection, usable(connection, "billing", role=Role.GATE, kinds=[Kind.APPROVE])
        )
    unopposed = [replace(question, wanted="Hello, friend.", is_unopposed=True) for question in approved]
    judge.judging = replace(judge.judging, suite=lambda *_: unopposed)
    asked: Counter[str] = Counter()

    def reply_function(path, messages):
        prompt = messages[-1]["content"]
        if number_in(messages) <= 9:
            return prompt.replace("ask", "right" if "v1-" in path else "wrong")
        if "v1-" in path:
            return "Good day, my friend."
        asked[prompt] += 1
        return "Hello, friend." if asked[prompt] <= 2 else sampled  # greedy twice, then at random

    billing.replicas[0].reply_function = reply_function
    judge.run()
    [decision, *_] = judge.decisions()
    agreements = {pair.agreement for pair in decision.evidence.suite}
    assert agreements == {1.0 if sampled == "Hello, friend." else 0.0}
    assert verdict in [decision.verdict for decision in judge.decisions()]


def test_a_suite_answer_that_is_worse_only_once_is_not_harm(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    billing.corrections("billing", 6, role=Role.GATE, kind=Kind.APPROVE)
    billing.candidate("billing")
    judge = bench()
    with billing.database.read() as connection:
        judge.suite_events = usable(connection, "billing", role=Role.GATE, kinds=[Kind.APPROVE])
    once: set[str] = set()

    def reply_function(path, messages):
        asked = messages[-1]["content"]
        approved = number_in(messages) > 8
        if approved and "v1-" in path and asked not in once:
            once.add(asked)
            return "something else"
        return asked.replace("ask", "right" if approved or "v1-" in path else "wrong")

    billing.replicas[0].reply_function = reply_function
    judge.run()
    assert judge.decisions()[-1].verdict is Verdict.PROMOTE


def test_a_candidate_that_loops_is_refused(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    billing.replicas[0].reply_function = lambda path, messages: (
        "word " * 400 if "v1-" in path else messages[-1]["content"]
    )
    judge = bench()
    judge.run()
    reasons = judge.decisions()[-1].evidence.reasons
    assert any(reason.startswith("repetitive") for reason in reasons)
    assert any(reason.startswith("cut_short") for reason in reasons)


def test_a_candidate_that_no_replica_can_load_is_an_abstention_and_all_replicas_stay_in_rotation(
    billing, bench
):
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    billing.replicas[0].faults.refuse_loads = True
    judge = bench()
    judge.run()
    [decision] = judge.decisions()
    assert decision.verdict is Verdict.ABSTAIN
    assert decision.evidence.reasons == ("no replica could hold it",)
    assert [report.url for report in judge.reports.rotation()] == [billing.replicas[0].url]


def test_nothing_is_decided_about_a_candidate_that_a_newer_clorad_wrote(
    billing: ServingEnvironment, bench: Callable[..., JudgingSetup]
) -> None:
    billing.candidate("billing", format=99)
    judge = bench()
    judge.run()
    assert judge.decisions() == []


def test_a_damaged_candidate_is_never_loaded_and_the_gate_abstains(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    (billing.store / candidate.path / "adapter_config.json").write_text("{ }")
    judge = bench()
    judge.run()
    assert judge.decisions()[-1].verdict is Verdict.ABSTAIN
    assert judge.decisions()[-1].evidence.reasons == ("not what was trained: adapter_config.json",)
    assert billing.replicas[0].requests == []


def test_a_candidate_of_an_agent_with_an_unknown_scorer_is_not_judged(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    billing.agent("billing", scorer="guess")
    judge = bench()
    judge.run()
    [decision] = judge.decisions()
    assert decision.verdict is Verdict.ABSTAIN
    assert decision.evidence.reasons == (
        "the scorer of the agent: guess is no scorer; there are auto, exact, json, similarity",
    )


def test_no_verdict_without_replicas(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    billing.replicas[0].kill()
    judge = bench()
    judge.run()
    assert judge.decisions() == []
    billing.replicas[0].start()
    judge.run()
    assert judge.serving() == 1


def test_a_swap_waits_until_every_replica_holds_the_candidate(billing, bench):
    billing.replica(reply_function=knows("v1-"))
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    judge = bench(placing_s_max=30.0)
    judge.run_until(Verdict.CANARY)
    assert len(judge.reports.holders(candidate.model)) == 1
    assert not promote_candidates(judge.judging, threading.Event())
    assert judge.serving() == lineage.BASE
    judge.step()
    assert judge.serving() == candidate.number
    assert len(judge.reports.holders(candidate.model)) == 2


def test_one_replica_that_cannot_hold_it_does_not_stop_a_swap_and_leaves_the_rotation(billing, bench):
    sick = billing.replica(reply_function=knows("v1-"))
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    judge = bench(placing_s_max=30.0)
    judge.run_until(Verdict.CANARY)
    holding = next(iter(judge.reports.holders(candidate.model)))
    sick = next(fake for fake in billing.replicas if fake.url != holding)
    sick.faults.load_nothing = True
    judge.step()
    assert judge.serving() == candidate.number
    assert judge.decisions()[-1].evidence.failed.keys() == {sick.url}
    judge.reconcile()
    assert [report.url for report in judge.reports.rotation()] == [holding]


def test_a_fleet_role_that_died_before_the_flip_is_followed_by_one_that_makes_it(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    judge = bench()

    def die(_: str) -> None:
        raise KeyboardInterrupt

    object.__setattr__(judge.judging, "failpoint", die)
    with pytest.raises(KeyboardInterrupt):
        judge.run()
    assert judge.serving() == lineage.BASE
    follower = bench()
    asked = len(billing.replicas[0].requests)
    follower.run()
    assert follower.serving() == candidate.number
    generated = [path for path, _ in billing.replicas[0].requests[asked:] if "chat" in path]
    assert generated == [], "the verdict stands, nothing is asked twice"


def test_a_candidate_that_a_newer_clorad_judged_is_not_served_and_the_role_goes_on(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    judge = bench()
    judge.run_until(Verdict.CANARY)
    with billing.database.write() as connection:
        connection.execute(text("UPDATE decisions SET evidence = '{\"format\": 3}' WHERE kind = 'canary'"))
    judge.run()
    assert judge.serving() == lineage.BASE
    assert judge.decisions()[-1].verdict is Verdict.ABSTAIN
    assert judge.decisions()[-1].evidence.reasons[0].endswith("upgrade clorad")


def test_a_candidate_whose_event_was_retracted_is_not_served_and_makes_the_next_try_no_harder(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    [taught] = billing.corrections("billing", 1, role=Role.TRAIN)
    billing.candidate("billing")
    judge = bench()
    judge.run_until(Verdict.CANARY)
    billing.say(build_retraction("r1", taught.id))
    judge.run()
    assert judge.serving() == lineage.BASE
    assert judge.decisions()[-1].verdict is Verdict.ABSTAIN
    assert judge.decisions()[-1].evidence.reasons == ("1 of its events changed meanwhile",)


def test_a_candidate_settled_by_a_rollback_is_not_decided_twice(billing, bench):
    champion = billing.champion("billing")
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    judge = bench()
    judge.step()
    roll_back(billing.database, "billing", to=None, by="ann", reason="worse")
    judge.run()
    kinds = [(decision.number, decision.verdict) for decision in judge.decisions()]
    assert kinds == [
        (champion.number, Verdict.PROMOTE),
        (2, Verdict.ABSTAIN),
        (champion.number, Verdict.ROLLBACK),
    ]


def test_the_second_champion_is_judged_on_what_arrived_since_the_first(billing, bench):
    judge = bench()
    billing.corrections("billing", 8, role=Role.GATE)
    first = billing.candidate("billing")
    judge.run()
    assert judge.serving() == first.number
    late = billing.corrections("billing", 9, role=Role.GATE)
    billing.replicas[0].reply_function = knows("v2-")
    billing.candidate("billing")
    judge.run()
    decision = judge.decisions()[-1]
    assert decision.verdict is Verdict.PROMOTE
    assert {pair.event for pair in decision.evidence.gate} == {event.uid for event in late}
    with billing.database.read() as connection:
        purposes = {row.purpose: row.number for row in desired.wanted(connection)}
    assert purposes == {Purpose.SERVE: 2, Purpose.PREDECESSOR: 1}


def test_the_evidence_of_earlier_decisions_is_not_read_again_in_each_round(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    turn_builder.refuse(billing.database, billing.candidate("billing"))
    with billing.database.write() as connection:
        connection.execute(text("UPDATE decisions SET evidence = 'no JSON' WHERE number = 1"))
    billing.candidate("billing")
    judge = bench()
    judge.step()
    judge.run()
    with billing.database.read() as connection:
        [decision] = decisions.decisions_of(connection, "billing", 2)
    assert decision.evidence.attempt == 2


def test_one_prompt_corrected_often_is_one_question(billing, bench):
    [event] = billing.corrections("billing", 1, role=Role.GATE)
    billing.say(*(replace(event, id=f"again{n}", digest=str(n), author=f"dev{n}") for n in range(9)))
    billing.candidate("billing")
    judge = bench()
    judge.run()
    [decision] = judge.decisions()
    assert decision.verdict is Verdict.ABSTAIN
    assert len(decision.evidence.gate) == 1


def test_a_prompt_no_replica_can_read_is_left_out(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    endless = {"messages": [{"role": "user", "content": "x" * 900}], "rejected": "a", "corrected": "b"}
    billing.say(build_event("long", role=Role.GATE, data=endless))
    billing.candidate("billing")
    judge = bench()
    judge.run()
    assert judge.decisions()[-1].verdict is Verdict.PROMOTE
    assert len(judge.decisions()[-1].evidence.gate) == 8


def test_the_kl_budget_of_the_manifest_is_judged(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing", metrics=build_metrics(kl_nats=2.0).to_json())
    judge = bench(limits=build_limits(kl_nats_max=1.0))
    judge.run()
    assert judge.decisions()[-1].evidence.reasons[0].startswith("kl: 2.000 nats")


def test_judging_stops_when_the_role_does(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    judge = bench()
    over = threading.Event()
    judge.step()
    judge.reconcile()
    billing.replicas[0].reply_function = lambda _path, _messages: over.set() or "late"
    with pytest.raises(Interrupted):
        judge_candidates(judge.judging, over)
    assert judge.decisions() == []


def test_a_rollback_to_an_unknown_version_is_refused(billing, bench):
    billing.champion("billing")
    with pytest.raises(FlipRefused):
        roll_back(billing.database, "billing", to=7, by="ann", reason="none")


def test_with_a_share_a_version_is_promoted_only_after_its_canary(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    options = build_canary_options(share=0.25, s_max=1800.0)
    judge = bench(canary=options)
    judge.run()
    assert judge.serving() == lineage.BASE
    assert [(one.verdict, one.by) for one in judge.decisions()] == [
        (Verdict.CANARY, "gate"),
        (Verdict.CANARY, "canary"),
    ]
    with billing.database.write() as connection:
        canary.end_steps(connection, "billing", candidate.number)  # as the watch does after the last step
    judge.run()
    assert judge.serving() == candidate.number
    promoted = judge.decisions()[-1]
    assert (promoted.verdict, promoted.by) == (Verdict.PROMOTE, "gate")
    assert len(promoted.evidence.gate) == 8, "the promotion has the gate's evidence"


def test_a_canary_keeps_its_share_while_its_only_replica_restarts(billing, bench):
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    judge = bench(canary=build_canary_options(share=0.25, s_max=1800.0))
    judge.run()
    [replica] = billing.replicas
    replica.kill()
    judge.run(2)
    assert judge.decisions()[-1].verdict is Verdict.CANARY
    replica.start()
    judge.run(2)
    with billing.database.read() as connection:
        assert desired.share_of(connection, "billing") == 0.25


def test_a_person_promotes_a_version_that_must_be_confirmed(billing, bench):
    billing.agent("billing", confirm=True)
    billing.corrections("billing", 8, role=Role.GATE)
    candidate = billing.candidate("billing")
    judge = bench()
    judge.run()
    assert judge.serving() == lineage.BASE
    confirm(billing.database, candidate, by="ann", reason="read its answers")
    judge.run()
    assert judge.serving() == candidate.number
    assert (judge.decisions()[-1].verdict, judge.decisions()[-1].by) == (Verdict.PROMOTE, "ann")


class OwnScorerFake:
    """A scorer whose numbers come from a function of wanted answer and answers."""

    is_relative = False

    def __init__(self, function: Callable[[str, Sequence[str]], Sequence[float]]) -> None:
        self.function = function
        self.closed = 0
        self.asked: list[Sequence[str]] = []

    def score(self, messages: Any, wanted: Any, answers: Any) -> Scored:
        self.asked.append(answers)
        values = tuple(self.function(wanted, answers))
        verdict = "first" if values[0] > values[1] else "second"
        return Scored(values=values, verdicts=(verdict,) * 2 if self.is_relative else ())

    def close(self) -> None:
        self.closed += 1


def likes_what_is_right(wanted: str, answers: Sequence[str]) -> list[float]:
    return [0.9 if answer == wanted else 0.2 for answer in answers]


def fails(_wanted: str, _answers: Sequence[str]) -> list[float]:
    raise NoScore("silent for 30 s")


def test_a_scorer_of_the_users_own_decides(billing: ServingEnvironment, bench: Bench) -> None:
    gate = billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    billing.agent("billing", scorer="policy")
    own = OwnScorerFake(likes_what_is_right)
    judge = bench(scorers=ScorerRegistry({"policy": lambda: own}, wait_s_max=1.0))
    judge.run()
    decision = judge.decisions()[-1]
    assert decision.verdict is Verdict.PROMOTE
    assert {pair.by for pair in decision.evidence.gate} == {"policy"}
    assert {(pair.before, pair.after) for pair in decision.evidence.gate} == {(0.2, 0.9)}
    assert len(gate) == len(own.asked) == 8
    assert own.closed == 1
    firsts = {answers[0].split()[0] for answers in own.asked}
    assert firsts == {"right", "wrong"}, "the order does not say whose an answer is"


def test_a_verifier_judges_conversations_that_both_models_replay(
    billing: ServingEnvironment, bench: Bench
) -> None:
    billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    billing.agent("billing", scorer="policy")
    with build_scoring_server() as server:

        def scored(_path: str, body: Any) -> Any:
            said = [talk[0]["content"] for talk in body["conversations"]]
            return 200, {"scores": [float(text == body["wanted"]) for text in said]}

        server.reply = scored
        judge = bench(
            scorers=ScorerRegistry(
                {"policy": lambda: ConversationVerifier(server.url, headers={}, wait_s_max=5.0)},
                wait_s_max=5.0,
            )
        )
        judge.run()
    decision = judge.decisions()[-1]
    assert decision.verdict is Verdict.PROMOTE
    assert len(decision.evidence.replays) == 8
    assert set(decision.evidence.replays.values()) == {("complete", "complete")}


def test_a_scorer_that_fails_ends_in_an_abstention_that_says_why(
    billing: ServingEnvironment, bench: Bench
) -> None:
    gate = billing.corrections("billing", 8, role=Role.GATE)
    billing.candidate("billing")
    billing.agent("billing", scorer="policy")
    own = OwnScorerFake(fails)
    judge = bench(scorers=ScorerRegistry({"policy": lambda: own}, wait_s_max=1.0))
    judge.run()
    [decision] = judge.decisions()
    assert decision.verdict is Verdict.ABSTAIN
    assert decision.evidence.reasons[0].startswith("scorer: 8 of 8 prompts have no score: ")
    assert set(decision.evidence.unscored) == {event.uid for event in gate}
    assert "silent for 30 s" in decision.evidence.unscored.values()
    assert len(own.asked) < 8, "it is not tried for ever"
    assert judge.serving() == lineage.BASE


def test_a_judge_compares_prose_and_its_verdicts_are_stored(
    billing: ServingEnvironment, bench: Bench
) -> None:
    prose = "Dear customer, thank you very much for asking us about order"
    events = [
        build_event(
            f"p{n}",
            role=Role.GATE,
            data={
                "messages": [{"role": "user", "content": f"ask {100 + n}"}],
                "rejected": "no",
                "corrected": f"{prose} {100 + n}",
            },
        )
        for n in range(8)
    ]
    billing.say(*events)
    billing.replicas[0].reply_function = lambda path, messages: (
        f"It is about {messages[-1]['content']}, for which we thank you" if "v1-" in path else "no idea"
    )
    billing.candidate("billing")
    billing.agent("billing", scorer="quality")
    own = OwnScorerFake(lambda _wanted, answers: [float(answer.startswith("It")) for answer in answers])
    own.is_relative = True
    judge = bench(scorers=ScorerRegistry({"quality": lambda: own}, wait_s_max=1.0))
    judge.run()
    decision = judge.decisions()[-1]
    assert decision.verdict is Verdict.PROMOTE
    assert decision.evidence.verdicts == {event.uid: ("after", "after") for event in events}


def test_a_prompt_that_the_replica_refuses_costs_no_verdict_and_is_told(
    billing: ServingEnvironment, bench: Bench
) -> None:
    billing.corrections("billing", 8, role=Role.GATE)
    long = build_event(
        "long",
        role=Role.GATE,
        data={
            "messages": [{"role": "user", "content": "ask " * 8000}],
            "rejected": "no",
            "corrected": "yes",
        },
    )
    billing.say(long)
    billing.candidate("billing")
    judge = bench()
    judge.run()
    decision = judge.decisions()[-1]
    assert decision.verdict is Verdict.PROMOTE
    assert len(decision.evidence.gate) == 8
    assert list(decision.evidence.unscored) == [long.uid]
    assert decision.evidence.unscored[long.uid].startswith("the replica refuses its prompt")


@pytest.mark.parametrize(("share", "verdict"), [(None, Verdict.ABSTAIN), (0.1, Verdict.CANARY)])
def test_without_a_suite_only_a_canary_may_show_what_a_candidate_does(
    environment: ServingEnvironment, bench: Bench, share: float | None, verdict: Verdict
) -> None:
    environment.agent("billing", canary_share=share)
    environment.replica(reply_function=knows("v1-"))
    environment.corrections("billing", 8, role=Role.GATE)
    environment.candidate("billing")
    judge = bench(limits=build_limits(suite_min=2))
    judge.run(steps=3)
    assert judge.decisions()[0].verdict is verdict
    assert judge.serving() == lineage.BASE


def test_an_agent_that_outcomes_judge_is_asked_nothing_and_serves_by_its_outcomes(billing, bench):
    billing.agent("billing", gate=GateMode.OUTCOMES)
    candidate = billing.candidate("billing")
    judge = bench()
    judge.run()
    passed, shared = judge.decisions()
    assert (passed.verdict, passed.by, passed.evidence.judged_by) == (Verdict.CANARY, "gate", "outcomes")
    assert passed.evidence.parity, "the probes were read"
    assert (shared.verdict, shared.by) == (Verdict.CANARY, "canary")
    assert judge.serving() == lineage.BASE
    live = LiveComparison(share=0.5, conversations=9, capital=1.0, signals={}, alpha_k=0.025)
    confirm(
        billing.database, candidate, by=BY_OUTCOMES, reason="better", evidence=Evidence(live=live, attempt=2)
    )
    judge.run()
    assert judge.serving() == candidate.number
    promoted = judge.decisions()[-1]
    assert (promoted.verdict, promoted.by) == (Verdict.PROMOTE, BY_OUTCOMES)
    assert (promoted.evidence.reasons, promoted.evidence.live, promoted.evidence.attempt) == (
        ("better",),
        live,
        2,
    )


def test_a_candidate_that_is_loaded_otherwise_than_trained_gets_no_share(billing, bench):
    billing.agent("billing", gate=GateMode.OUTCOMES)
    billing.candidate("billing", metrics=build_metrics(kl_nats=2.0).to_json())
    judge = bench(limits=build_limits(kl_nats_max=1.0))
    judge.run()
    [decision] = judge.decisions()
    assert decision.verdict is Verdict.REFUSE
    assert decision.evidence.reasons[0].startswith("kl: 2.000 nats")


def test_a_version_that_a_person_brings_back_serves_once_replicas_hold_and_probed_it(billing, bench):
    judge = bench()
    billing.corrections("billing", 8, role=Role.GATE)
    version = billing.candidate("billing")
    judge.run()
    roll_back(billing.database, "billing", to=None, by="ann", reason="worse")
    reinstate(billing.database, version, by="ben", reason="it was the scorer")
    judge.run()
    assert judge.serving() == version.number
    last = judge.decisions()[-1]
    assert (last.verdict, last.by, last.evidence.reasons) == (Verdict.PROMOTE, "ben", ("it was the scorer",))
    assert list(last.evidence.replicas) == [billing.replicas[0].url]
    assert last.evidence.under.server == "0.32.0"


def test_a_version_that_is_brought_back_and_fails_its_probes_does_not_serve(billing, bench):
    version = billing.candidate("billing")
    turn_builder.refuse(billing.database, version)
    reinstate(billing.database, version, by="ben", reason="it was the scorer")
    billing.replicas[0].faults.load_nothing = True
    judge = bench()
    judge.run()
    assert judge.serving() == lineage.BASE
    last = judge.decisions()[-1]
    assert (last.verdict, last.evidence.reasons) == (Verdict.ABSTAIN, ("no replica could hold it",))


def test_a_version_whose_gate_is_off_serves_at_once_and_says_that_nobody_judged_it(billing, bench):
    judged = billing.champion("billing")
    billing.agent("billing", gate=GateMode.OFF)
    billing.corrections("billing", 8, role=Role.GATE)
    first = billing.candidate("billing")
    judge = bench()
    judge.run()
    assert judge.serving() == first.number
    passed, promoted = judge.decisions()[-2:]
    assert (passed.verdict, passed.by) == (Verdict.CANARY, "gate")
    assert (promoted.verdict, promoted.by) == (Verdict.PROMOTE, BY_NOBODY)
    assert promoted.evidence.reasons == ("nobody judged it: the agent's gate is off",)
    second = billing.candidate("billing")
    judge.run()
    with billing.database.read() as connection:
        rows = {row.purpose: row.number for row in desired.wanted(connection)}
        route = routing(connection, {}).routes["billing"]
        assert canary.open_steps(connection) == []
    assert rows == {Purpose.SERVE: second.number, Purpose.PREDECESSOR: judged.number}
    assert (route.version, route.experiment_version) == (judged.name, second.name)


def test_after_an_experiment_candidates_are_compared_with_what_everybody_gets(billing, bench):
    judged = billing.champion("billing")
    billing.agent("billing", gate=GateMode.OFF)
    billing.candidate("billing")
    judge = bench()
    judge.run()
    billing.agent("billing")
    candidate = billing.candidate("billing")
    with billing.database.read() as connection:
        [state] = candidate_states(connection)
    assert state.champion == judged
    turn_builder.promote(billing.database, candidate)
    with billing.database.read() as connection:
        route = routing(connection, {}).routes["billing"]
    assert (route.version, route.experiment_version) == (candidate.name, None)


def test_an_experiment_that_is_rolled_back_leaves_everybody_with_what_was_judged(billing, bench):
    judged = billing.champion("billing")
    billing.agent("billing", gate=GateMode.OFF)
    judge = bench()
    first = billing.candidate("billing")
    judge.run()
    billing.candidate("billing")
    judge.run()
    roll_back(billing.database, "billing", to=None, by="ann", reason="worse")
    with billing.database.read() as connection:
        route = routing(connection, {}).routes["billing"]
    assert (route.version, route.experiment_version) == (judged.name, first.name)
    roll_back(billing.database, "billing", to=judged.number, by="ann", reason="over")
    with billing.database.read() as connection:
        route = routing(connection, {}).routes["billing"]
    assert (route.version, route.experiment_version) == (judged.name, None)
