"""The loop that watches versions: it withdraws what is worse, and gives the others their next share."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from ledger import schema
from ledger.database import Database, now_s
from ledger.events import LiveCounts, Signal, Status, VersionCounts
from ledger.versions import canary, decisions, desired, holds
from ledger.versions.decisions import Decision, Verdict
from ledger.versions.lineage import Version
from ledger.versions.routing import is_in_share
from serving.canary.admission import admit
from serving.canary.observing import CanaryObserver
from serving.canary.sequential_test import StepCounts
from serving.canary.watching import CanaryWatch
from tests.canary_options_builder import build_canary_options
from tests.unit.ledger import event_builder, turn_builder
from tests.unit.serving.serving_environment import ServingEnvironment

OPTIONS = build_canary_options(share=0.05, s_max=1800.0)


def build_watch(database: Database) -> CanaryWatch:
    return CanaryWatch(database=database, observer=CanaryObserver(options=OPTIONS))


class Watched:
    """An agent with a champion and a canary, and short ways to let things happen to them."""

    def __init__(self, environment: ServingEnvironment) -> None:
        self.environment, self.database = environment, environment.database
        environment.agent("billing")
        self.champion = environment.champion("billing")
        self.canary = environment.candidate("billing")
        self.watch = build_watch(self.database)
        self._said = self._counted = 0
        self.said = [0]  # numbers of the corrections that were said, from 1
        self.pass_time(OPTIONS.s_max + 1.0)
        self.watch.look()  # the champion's own watch is over
        admit(self.database, self.canary, OPTIONS)

    def correct(self, count: int, *, of_canary: bool, author: str | None = None) -> None:
        """So many conversations of one of the two versions are corrected."""
        share = self.share()
        corrected = 0
        while corrected < count:
            self._said += 1
            name = f"conversation {self._said}"
            if is_in_share(name, self.canary.name, share) == of_canary:
                corrected += 1
                event = event_builder.build_event(
                    f"said {self._said}", conversation=name, author=author or f"author {self._said}"
                )
                self.environment.say(event)
                self.said.append(self._said)

    def retract(self, number: int) -> None:
        """The author of what was said takes it back."""
        self.environment.say(
            event_builder.build_retraction(f"r{number}", f"said {number}", author=f"author {number}")
        )

    def count(self, *, conversations: int, errors: int = 0, champion_errors: int = 0) -> None:
        """A gateway counted this in the present step."""
        self._counted += 1
        share = self.share()

        def shown(version: Version, count: int) -> dict[Signal, tuple[str, ...]]:
            names = (f"{self._counted:04x}{version.number:04x}{n:08x}" for n in range(count))
            return {Signal.ERROR: tuple(names)}

        counts = LiveCounts(
            producer="p1",
            sequence=self._counted,
            agent="billing",
            canary=self.canary.name,
            share=share,
            versions={
                self.canary.name: VersionCounts(
                    conversations=conversations, signals=shown(self.canary, errors)
                ),
                self.champion.name: VersionCounts(
                    conversations=conversations * 19, signals=shown(self.champion, champion_errors)
                ),
            },
        )
        event_builder.keep(self.database, counts, partition=event_builder.INTERACTIONS)

    def pass_time(self, seconds: float) -> None:
        with self.database.write() as connection:
            connection.execute(
                text(f"UPDATE canary_steps SET began_s = began_s - {seconds} WHERE ended_s IS NULL")
            )

    def share(self) -> float:
        with self.database.read() as connection:
            return desired.share_of(connection, "billing")

    def serving(self) -> int:
        with self.database.read() as connection:
            return desired.champion(connection, "billing")

    def last(self) -> Decision:
        with self.database.read() as connection:
            return decisions.decisions_of(connection, "billing")[-1]

    def is_passed(self) -> bool:
        with self.database.read() as connection:
            steps = canary.steps_of(connection, "billing", self.canary.number)
        return not any(step.is_open for step in steps)


@pytest.fixture
def watched(environment: ServingEnvironment) -> Watched:
    return Watched(environment)


def test_a_canary_that_people_correct_more_often_is_withdrawn_with_its_numbers(watched: Watched) -> None:
    watched.count(conversations=60)
    watched.correct(30, of_canary=False)
    watched.correct(2, of_canary=True)
    watched.watch.look()
    assert watched.share() == 0.05
    watched.correct(10, of_canary=True)
    watched.watch.look()
    assert watched.share() == 0.0
    decision = watched.last()
    assert (decision.verdict, decision.by, decision.number) == (Verdict.ROLLBACK, "canary", 2)
    assert decision.evidence.reasons == (
        "worse on live traffic: correction in 12 of its conversations and 30 of the champion's,"
        " where 2.1 of these 42 were expected",
    )
    live = decision.evidence.live
    assert live is not None
    assert (live.share, live.conversations) == (0.05, 60)
    assert live.signals["correction"] == {"canary": 12, "champion": 30}
    assert live.capital >= 100.0


def test_corrections_that_were_retracted_do_not_withdraw_a_canary(watched: Watched) -> None:
    watched.correct(30, of_canary=False)
    watched.correct(2, of_canary=True)
    watched.watch.look()
    for number in (31, 32):  # they were counted already
        watched.retract(watched.said[number])
    watched.correct(10, of_canary=True)
    for number in range(33, 43):
        watched.retract(watched.said[number])
    watched.watch.look()
    assert watched.share() == 0.05
    watched.correct(1, of_canary=True)
    with watched.database.read() as connection:
        [seen] = watched.watch.observer.read_all(connection)
    assert seen.feedback.step_counts(Signal.CORRECTION) == (StepCounts(share=0.05, canary=1, champion=30),)


def test_what_a_withdrawn_canary_was_taught_is_held_and_what_people_said_of_it_is_open(
    watched: Watched,
) -> None:
    watched.correct(20, of_canary=True)
    watched.watch.look()
    with watched.database.read() as connection:
        rows = connection.execute(text("SELECT id, status FROM events")).all()
    status = {row.id: Status(row.status) for row in rows}
    assert status["e2"] is Status.HELD
    assert status["e1"] is Status.OPEN
    assert {found for name, found in status.items() if name.startswith("said")} == {Status.OPEN}


def test_a_canary_whose_answers_fail_is_withdrawn_by_what_gateways_count(watched: Watched) -> None:
    watched.count(conversations=40, errors=12, champion_errors=3)
    watched.watch.look()
    assert watched.share() == 0.0
    assert watched.last().evidence.reasons[0].startswith("worse on live traffic: error in 12")


def test_one_person_alone_does_not_withdraw_a_canary(watched: Watched) -> None:
    watched.count(conversations=60)
    watched.correct(30, of_canary=True, author="ann")
    watched.watch.look()
    assert watched.share() == 0.05


def test_a_canary_that_is_not_worse_gets_its_next_share_when_its_time_is_over(watched: Watched) -> None:
    watched.count(conversations=60)
    watched.correct(10, of_canary=False)
    watched.watch.look()
    assert watched.share() == 0.05
    watched.pass_time(OPTIONS.s_max)
    watched.watch.look()
    assert watched.share() == 0.25
    watched.count(conversations=60)
    watched.pass_time(OPTIONS.s_max)
    watched.watch.look()
    assert watched.is_passed()
    assert admit(watched.database, watched.canary, OPTIONS) == "gate"


def test_a_canary_without_a_conversation_keeps_waiting(watched: Watched) -> None:
    watched.pass_time(10 * OPTIONS.s_max)
    watched.watch.look()
    assert watched.share() == 0.05


def test_an_agent_on_hold_keeps_its_share_and_may_still_lose_it(watched: Watched) -> None:
    holds.hold(watched.database, "billing", by="ann", reason="month's end")
    watched.count(conversations=60)
    watched.pass_time(OPTIONS.s_max)
    watched.watch.look()
    assert watched.share() == 0.05
    watched.count(conversations=40, errors=12, champion_errors=3)
    watched.watch.look()
    assert watched.share() == 0.0


def test_a_canary_whose_lesson_was_taken_back_leaves_the_traffic(watched: Watched) -> None:
    watched.environment.say(event_builder.build_retraction("r", "e2"))
    watched.watch.look()
    assert watched.share() == 0.0
    assert (watched.last().verdict, watched.last().by) == (Verdict.ABSTAIN, "canary")


def test_the_next_leader_goes_on_with_what_was_counted(watched: Watched) -> None:
    watched.correct(2, of_canary=True)
    watched.watch.look()
    watched.correct(10, of_canary=True)
    build_watch(watched.database).look()
    assert watched.share() == 0.0


def test_the_watch_of_a_promoted_version_ends_with_its_time(watched: Watched) -> None:
    turn_builder.promote(watched.database, watched.canary)
    watched.watch.look()
    assert not watched.is_passed()
    watched.pass_time(OPTIONS.s_max)
    watched.watch.look()
    assert watched.is_passed()
    assert watched.serving() == 2


def say(watched: Watched, version: Version, *, minutes: int, refusals: int) -> None:
    """A gateway counted 30 conversations a minute of a version that answered all; so many were refused."""
    with watched.database.write() as connection:
        began_s = int(now_s(connection)) // 60 * 60 + 60
        for minute in range(minutes):
            since_s = began_s + 60 * minute
            connection.execute(
                schema.live_conversations.insert().values(
                    agent="billing",
                    canary="",
                    share=0.0,
                    version=version.name,
                    since_s=since_s,
                    conversations=30,
                )
            )
            for number in range(refusals):
                connection.execute(
                    schema.live_signals.insert().values(
                        agent="billing",
                        canary="",
                        share=0.0,
                        signal=Signal.REFUSAL.value,
                        conversation=f"{version.number}-{minute}-{number}",
                        version=version.name,
                        seen_s=since_s + 1.0,
                    )
                )


def test_a_promoted_version_that_refuses_more_often_than_its_predecessor_is_rolled_back(
    watched: Watched,
) -> None:
    say(watched, watched.champion, minutes=60, refusals=0)
    with watched.database.write() as connection:  # the past
        connection.execute(text("UPDATE live_conversations SET since_s = since_s - 86400"))
    turn_builder.promote(watched.database, watched.canary)
    say(watched, watched.canary, minutes=8, refusals=8)
    watched.watch.look()
    assert watched.serving() == watched.champion.number
    decision = watched.last()
    assert (decision.verdict, decision.by) == (Verdict.ROLLBACK, "canary")
    assert decision.evidence.reasons == (
        "worse than its predecessor: refusal in 64 of 240 conversations, 0 of 1800 before",
    )
    assert decision.evidence.live is not None
    assert decision.evidence.live.signals["refusal"] == {"canary": 64, "champion": 0}
    assert watched.is_passed()


def test_a_signal_that_is_ignored_withdraws_no_version(watched: Watched) -> None:
    watched.watch.observer.options = replace(OPTIONS, ignored=frozenset({Signal.ERROR}))
    watched.count(conversations=40, errors=30, champion_errors=3)
    watched.watch.look()
    assert watched.share() == 0.05
