"""The loop that watches canaries judged by outcomes, on a real ledger: promoted, withdrawn, or given up."""

import pytest
from sqlalchemy import text

from ledger.events import Event, Status
from ledger.versions import desired, holds, promotion
from ledger.versions.decisions import BY_OUTCOMES, Decision, Verdict, decide, decisions_of, live_tries
from ledger.versions.desired import Purpose
from ledger.versions.evidence import Evidence
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import Version
from ledger.versions.routing import is_in_share
from serving.canary.admission import Admission, admissions, admit
from serving.canary.observing import CanaryObserver
from serving.canary.steps import OutcomeOptions
from serving.canary.waiting import waiting_candidates
from serving.canary.watching import CanaryWatch
from tests.canary_options_builder import build_canary_options
from tests.unit.ledger import event_builder
from tests.unit.serving.serving_environment import ServingEnvironment

OPTIONS = build_canary_options(
    share=0.0,
    s_max=1800.0,
    outcomes=OutcomeOptions(alpha=0.05, authors_min=2, conversations_max=200, s_max=86_400.0),
)


class Judged:
    """An agent whose candidate has half of the traffic, and short ways to let conversations end."""

    def __init__(self, environment: ServingEnvironment, **changed: object) -> None:
        self.environment, self.database = environment, environment.database
        environment.agent("billing", **{"gate": GateMode.OUTCOMES, "canary_share": 0.5, **changed})
        self.watch = CanaryWatch(database=self.database, observer=CanaryObserver(options=OPTIONS))
        self._said = 0
        self.canary = self.begin()

    def begin(self) -> Version:
        """The next candidate passes what comes before users, and gets its share."""
        candidate = self.environment.candidate("billing")
        with self.database.write() as connection:
            evidence = Evidence(judged_by=GateMode.OUTCOMES.value)
            decide(
                connection,
                Decision(
                    agent="billing",
                    number=candidate.number,
                    verdict=Verdict.CANARY,
                    by="gate",
                    evidence=evidence,
                    through_seq=candidate.through_seq,
                ),
            )
            desired.want(connection, candidate, Purpose.CANARY)
        admit(self.database, candidate, OPTIONS)
        return candidate

    def end(self, count: int, *, of_canary: float, of_champion: float, author: str | None = None) -> None:
        """So many conversations of each version end with these outcomes."""
        events: list[Event] = []
        left = {True: count, False: count}
        while any(left.values()):
            self._said += 1
            name = f"conversation {self._said}"
            is_canarys = is_in_share(name, self.canary.name, 0.5)
            if left[is_canarys]:
                left[is_canarys] -= 1
                value = of_canary if is_canarys else of_champion
                by = author or f"author {self._said}"
                events.append(
                    event_builder.build_outcome(f"o{self._said}", value, conversation=name, author=by)
                )
        self.environment.say(*events)

    def admission(self) -> Admission:
        with self.database.read() as connection:
            return admissions(connection, [self.canary], OPTIONS)[self.canary.agent]

    def share(self) -> float:
        with self.database.read() as connection:
            return desired.share_of(connection, "billing")

    def last(self) -> Decision:
        with self.database.read() as connection:
            return decisions_of(connection, "billing")[-1]


@pytest.fixture
def judged(environment: ServingEnvironment) -> Judged:
    return Judged(environment)


def test_the_first_share_of_an_agent_that_names_none_is_small(environment: ServingEnvironment) -> None:
    assert Judged(environment, canary_share=None).share() == 0.05


def test_a_better_canary_is_let_through_with_its_numbers(judged: Judged) -> None:
    judged.end(30, of_canary=1.0, of_champion=-1.0)
    judged.watch.look()
    decision = judged.last()
    assert (decision.verdict, decision.by) == (Verdict.CONFIRM, BY_OUTCOMES)
    assert decision.evidence.reasons == (
        "better outcomes on live traffic: mean 1.00 in 30 conversations, -1.00 in 30 conversations of the"
        " champion's",
    )
    live = decision.evidence.live
    assert live is not None
    assert live.alpha_k == 0.025
    assert live.outcomes["canary"]["capital"] >= 40.0
    assert live.outcomes["champion"] == {"conversations": 30, "mean": -1.0}
    assert decision.evidence.attempt == 1
    assert judged.admission().by == BY_OUTCOMES
    judged.watch.look()
    assert judged.last() == decision, "it is confirmed once"


def test_an_equal_canary_is_given_up_and_its_lesson_is_free_for_the_next_try(judged: Judged) -> None:
    judged.end(60, of_canary=1.0, of_champion=1.0)
    judged.watch.look()
    assert judged.share() == 0.5
    assert judged.admission().waits_for == "its canary"
    judged.end(40, of_canary=1.0, of_champion=1.0)
    judged.watch.look()
    assert judged.share() == 0.0
    assert (judged.last().verdict, judged.last().by) == (Verdict.ABSTAIN, BY_OUTCOMES)
    with judged.database.read() as connection:
        status = connection.scalar(text("SELECT status FROM events WHERE id = 'e1'"))
        assert live_tries(connection, "billing", judged.canary.number + 1) == 1
    assert Status(status) is Status.OPEN


def test_a_worse_canary_is_withdrawn(judged: Judged) -> None:
    judged.end(40, of_canary=0.0, of_champion=1.0)
    judged.watch.look()
    assert judged.share() == 0.0
    assert (judged.last().verdict, judged.last().by) == (Verdict.ROLLBACK, "canary")
    assert judged.last().evidence.reasons[0].startswith("worse outcomes on live traffic: mean 0.00 in 40")


def test_every_try_that_had_a_share_asks_more_of_the_next_one(judged: Judged) -> None:
    for _ in range(2):
        judged.end(100, of_canary=1.0, of_champion=1.0)
        judged.watch.look()
        judged.canary = judged.begin()
    judged.end(30, of_canary=1.0, of_champion=-1.0)
    judged.watch.look()
    evidence = judged.last().evidence
    assert evidence.attempt == 3
    assert evidence.live is not None
    assert evidence.live.alpha_k == pytest.approx(0.05 / 12)


def test_one_author_alone_promotes_nothing(judged: Judged) -> None:
    judged.end(60, of_canary=1.0, of_champion=-1.0, author="mallory")
    judged.watch.look()
    assert judged.share() == 0.5
    with judged.database.read() as connection:
        waits = waiting_candidates(connection, OPTIONS)["billing"]
    assert "of one author do not count" in waits


def test_a_retracted_outcome_counts_no_more(judged: Judged) -> None:
    judged.end(1, of_canary=1.0, of_champion=-1.0)
    judged.watch.look()
    judged.environment.say(
        *(
            event_builder.build_retraction(f"r{said}", f"o{said}", author=f"author {said}")
            for said in range(1, judged._said + 1)
        )
    )
    with judged.database.read() as connection:
        [watched] = judged.watch.observer.read_all(connection)
    assert watched.outcomes is not None
    assert watched.outcomes.outcomes == ()


def test_an_agent_on_hold_or_to_be_confirmed_waits_for_a_person(environment: ServingEnvironment) -> None:
    judged = Judged(environment, confirm=True)
    judged.end(30, of_canary=1.0, of_champion=-1.0)
    judged.watch.look()
    assert "clorad promote billing@v1" in str(judged.admission().waits_for)
    holds.hold(judged.database, "billing", by="ann", reason="month's end")
    assert str(judged.admission().waits_for).startswith("ann")
    holds.resume(judged.database, "billing", by="ann")
    promotion.confirm(judged.database, judged.canary, by="ann", reason="")
    assert judged.admission().by == "ann"


def test_one_that_was_found_better_is_still_withdrawn_while_it_waits(environment: ServingEnvironment) -> None:
    judged = Judged(environment, confirm=True)
    judged.end(20, of_canary=1.0, of_champion=-1.0)
    judged.watch.look()
    judged.end(79, of_canary=-1.0, of_champion=1.0)
    judged.watch.look()
    assert judged.share() == 0.0
