"""A promoted version is compared with its predecessor again: real ledger, fake replicas, real questions."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from ledger import schema
from ledger.events import Event, Kind, Role, Status
from ledger.learning.event_queries import usable
from ledger.versions import desired, looks
from ledger.versions.decisions import Verdict
from ledger.versions.gate_modes import GateMode
from serving.fleet.answers import Interrupted
from serving.rejudging.causes import TEMPLATE_ADVICE, RejudgingOptions
from serving.rejudging.looking import IN_FLIGHT_MAX, ChampionLooks
from tests.unit.ledger.event_builder import build_retraction
from tests.unit.serving.fleet.test_judging import JudgingSetup
from tests.unit.serving.serving_environment import ServingEnvironment

OPTIONS = RejudgingOptions(growth=0.25, alpha=0.01)


class Rejudged:
    """A champion v1 over the base, promoted with a suite of eight prompts."""

    def __init__(self, environment: ServingEnvironment, setup: JudgingSetup) -> None:
        self.environment = environment
        self.setup = setup
        self.forgets: set[str] = set()  # prompts that v1 answers wrong although the base answers them right
        self.looks = ChampionLooks(judging=setup.judging, options=OPTIONS)
        for fake in environment.replicas:
            fake.reply_function = self._reply
        environment.corrections("billing", 8, role=Role.GATE)
        self.approved = [event.data["messages"][0]["content"] for event in self.approve(8)]
        environment.candidate("billing")
        setup.run()
        assert setup.serving() == 1

    def approve(self, count: int) -> list[Event]:
        """Approvals of answers that the base gives too; they are the suite."""
        events = self.environment.corrections("billing", count, role=Role.GATE, kind=Kind.APPROVE)
        with self.environment.database.read() as connection:
            self.setup.suite_events = usable(connection, "billing", role=Role.GATE, kinds=[Kind.APPROVE])
        return events

    def spoil(self, events: list[Event]) -> None:
        self.forgets |= {event.data["messages"][0]["content"] for event in events}

    def look(self) -> int:
        self.setup.reconcile()
        return self.looks.look(threading.Event())

    def last(self) -> Any:
        return self.setup.decisions()[-1]

    def _reply(self, path: str, messages: Any) -> str:
        asked = messages[-1]["content"]
        suite = {kept.event.data["messages"][0]["content"] for kept in self.setup.suite_events}
        right = asked not in self.forgets if "v1-" in path else asked in suite
        return asked.replace("ask", "right" if right else "wrong")


@pytest.fixture
def setup(environment: ServingEnvironment) -> Iterator[JudgingSetup]:
    environment.agent("billing")
    environment.replica()
    built = JudgingSetup(environment)
    yield built
    built.close()


@pytest.fixture
def rejudged(environment: ServingEnvironment, setup: JudgingSetup) -> Rejudged:
    return Rejudged(environment, setup)


def test_the_promotion_remembers_suite_server_and_template(rejudged: Rejudged) -> None:
    under = rejudged.last().evidence.under
    assert (under.suite, under.server) == (8, "0.32.0")
    assert len(under.template) == 12


def test_nothing_is_judged_again_while_nothing_changed(rejudged: Rejudged) -> None:
    assert rejudged.look() == 0
    rejudged.approve(1)
    assert rejudged.look() == 0
    assert rejudged.last().verdict is Verdict.PROMOTE


def test_a_champion_that_is_no_worse_on_the_grown_suite_stays_and_its_decision_says_so(
    rejudged: Rejudged,
) -> None:
    rejudged.approve(4)
    assert rejudged.look() == 1
    last = rejudged.last()
    assert (last.verdict, last.by) == (Verdict.KEEP, "gate")
    assert last.evidence.reasons[0] == ("judged again because its no-harm suite grew from 8 to 12 prompts")
    assert (last.evidence.judgement.suite, last.evidence.judgement.wins) == (12, 8)
    assert rejudged.setup.serving() == 1
    assert rejudged.look() == 0, "until the suite has grown again"


def test_a_champion_that_turns_out_worse_is_rolled_back_and_its_own_events_are_held(
    rejudged: Rejudged,
) -> None:
    rejudged.spoil(rejudged.approve(12))
    assert rejudged.look() == 1
    last = rejudged.last()
    assert (last.verdict, last.by, last.number) == (Verdict.ROLLBACK, "gate", 1)
    assert "12 of 20 prompts of its suite are answered worse" in last.evidence.reasons[0]
    assert last.evidence.judgement.suite_losses == 12
    assert rejudged.setup.serving() == 0
    with rejudged.environment.database.read() as connection:
        statuses = set(
            connection.scalars(select(schema.events.c.status).where(schema.events.c.role == Role.TRAIN.value))
        )
    assert statuses == {Status.HELD.value}


def test_a_predecessor_that_is_no_base_is_compared_and_comes_back(
    rejudged: Rejudged, environment: ServingEnvironment
) -> None:
    environment.corrections("billing", 9, role=Role.GATE)
    second = environment.candidate("billing")
    suite = {event.event.data["messages"][0]["content"] for event in rejudged.setup.suite_events}
    spoilt: set[str] = set()

    def reply(path: str, messages: Any) -> str:
        asked = messages[-1]["content"]
        right = asked not in spoilt if "v2-" in path else asked in suite | spoilt
        return asked.replace("ask", "right" if right else "wrong")

    environment.replicas[0].reply_function = reply
    rejudged.setup.run()
    assert rejudged.setup.serving() == second.number
    spoilt |= {event.data["messages"][0]["content"] for event in rejudged.approve(12)}
    assert rejudged.look() == 1
    assert (rejudged.last().verdict, rejudged.setup.serving()) == (Verdict.ROLLBACK, 1)


def test_another_version_of_the_server_makes_it_be_judged_on_that_server(rejudged: Rejudged) -> None:
    rejudged.environment.replicas[0].version = "0.33.0"
    assert rejudged.look() == 1
    assert rejudged.last().evidence.reasons[0] == (
        "judged again because the replicas run 0.33.0 instead of 0.32.0"
    )
    assert rejudged.look() == 0


def test_another_image_is_another_server(rejudged: Rejudged) -> None:
    judging = rejudged.setup.judging
    rejudged.looks.judging = replace(judging, options=replace(judging.options, image="vllm@sha256:1"))
    assert rejudged.look() == 1
    assert "0.32.0 vllm@sha256:1" in rejudged.last().evidence.reasons[0]


def test_another_template_is_said_with_what_to_do(rejudged: Rejudged) -> None:
    rejudged.environment.replicas[0].template = "[{role}] {content}"
    assert rejudged.look() == 1
    reasons = rejudged.last().evidence.reasons
    assert reasons[0] == "judged again because the replicas' chat template changed"
    assert reasons[-1] == TEMPLATE_ADVICE
    with rejudged.environment.database.read() as connection:
        [champion] = looks.serving_champions(connection)
    assert champion.has_other_template
    rejudged.environment.replicas[0].template = "<{role}>{content}"
    assert rejudged.look() == 1, "the earlier form is back"
    with rejudged.environment.database.read() as connection:
        [champion] = looks.serving_champions(connection)
    assert not champion.has_other_template


def test_a_template_that_writes_the_day_has_not_changed_the_next_day(rejudged: Rejudged) -> None:
    fake = rejudged.environment.replicas[0]
    fake.template = "<{role}>Today is 30 Nov 2026, Monday. {content}"
    assert rejudged.look() == 1
    fake.template = "<{role}>Today is 1 December 2026, Tuesday. {content}"
    assert rejudged.look() == 0


def test_replicas_of_two_versions_are_no_new_server(environment: ServingEnvironment) -> None:
    environment.agent("billing")
    first, second = environment.replica(), environment.replica()
    setup = JudgingSetup(environment)
    rejudged = Rejudged(environment, setup)
    second.version = "0.33.0"
    assert rejudged.look() == 0
    first.version = "0.33.0"
    assert rejudged.look() == 1
    setup.close()


def test_a_server_that_tells_nothing_has_not_changed(rejudged: Rejudged) -> None:
    fake = rejudged.environment.replicas[0]
    fake.version = None
    fake.missing_paths = {"/tokenize"}
    assert rejudged.look() == 0


def test_corrections_of_its_own_answers_are_not_asked(rejudged: Rejudged) -> None:
    rejudged.environment.corrections("billing", 6, role=Role.GATE)
    rejudged.approve(4)
    assert rejudged.look() == 1
    assert len(rejudged.last().evidence.gate) == 8


def test_a_candidate_is_judged_first(rejudged: Rejudged) -> None:
    rejudged.environment.candidate("billing")
    rejudged.approve(8)
    assert rejudged.look() == 0


def test_few_questions_are_asked_at_once(rejudged: Rejudged) -> None:
    rejudged.approve(8)
    fake = rejudged.environment.replicas[0]
    fake.in_flight_peak = 0
    fake.faults.answer_delay_s = 0.01
    rejudged.look()
    assert fake.in_flight_peak <= IN_FLIGHT_MAX


def test_without_its_predecessor_on_a_replica_nothing_is_compared(
    rejudged: Rejudged, environment: ServingEnvironment
) -> None:
    environment.corrections("billing", 9, role=Role.GATE)
    environment.champion("billing")
    rejudged.approve(8)
    with environment.database.write() as connection:
        desired.no_longer_want(connection, "billing", desired.Purpose.PREDECESSOR)
    assert rejudged.look() == 0


def test_an_approval_that_was_taken_back_meanwhile_rolls_nothing_back(
    rejudged: Rejudged, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = rejudged.approve(12)
    rejudged.spoil(events)
    asked: list[str] = []
    reply = rejudged.environment.replicas[0].reply_function

    def retract_while_asked(path: str, messages: Any) -> str:
        asked.append(path)
        if len(asked) == 30:
            rejudged.environment.say(build_retraction("taken-back", events[0].id))
        return reply(path, messages)

    rejudged.environment.replicas[0].reply_function = retract_while_asked
    rejudged.look()
    assert rejudged.setup.serving() == 1


def test_a_role_that_is_stopping_decides_nothing(rejudged: Rejudged) -> None:
    rejudged.spoil(rejudged.approve(12))
    rejudged.setup.reconcile()
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Interrupted):
        rejudged.looks.look(stopping)
    assert rejudged.setup.serving() == 1


def test_looks_end_at_their_number(rejudged: Rejudged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.rejudging.looking.LOOKS_MAX", 1)
    rejudged.approve(4)
    assert rejudged.look() == 1
    rejudged.approve(12)
    assert rejudged.look() == 0


def test_each_look_has_a_smaller_level(rejudged: Rejudged) -> None:
    for count in (4, 12):
        rejudged.approve(count)
        assert rejudged.look() == 1
    levels = [
        decision.evidence.judgement.alpha_k
        for decision in rejudged.setup.decisions()
        if decision.verdict is Verdict.KEEP
    ]
    assert levels == pytest.approx([0.01 / 2, 0.01 / 6])


def test_an_agent_that_is_judged_by_outcomes_is_not_judged_again_by_prompts(
    rejudged: Rejudged, environment: ServingEnvironment
) -> None:
    environment.agent("billing", gate=GateMode.OUTCOMES)
    rejudged.approve(8)
    assert rejudged.look() == 0
