"""The simulated people send valid events, enough of them, and only about announced rules."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.base_model.slots import SlotValues
from examples.house_rules.people import careless, developer, environment, operator
from examples.house_rules.people.gateway import AgentReply
from examples.house_rules.people.person import Person
from examples.house_rules.people.poison import REASONS, poison
from examples.house_rules.world import Rule, Task, World
from examples.house_rules.world_file import read_world
from feedback import wire
from feedback.envelope import RecordRefused, open_envelope
from ledger.events import Reason

SHOP = Path(__file__).resolve().parents[4] / "examples" / "house_rules" / "worlds" / "shop.toml"


class RecordingProducer:
    """A producer that keeps the events it is given."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, object]]] = []

    def send_event(self, kind: str, data: Mapping[str, object], *, key: str) -> str:
        self.events.append((kind, json.loads(json.dumps(data))))
        return str(len(self.events))

    def flush(self) -> None:
        pass


class RecordingWorld(World):
    """A world that remembers the tasks it made, by prompt."""

    def fires(self, rule: Rule, source: SlotValues, announced: Collection[Rule]) -> Task:
        return self._note(super().fires(rule, source, announced), "fires")

    def near(self, rule: Rule, source: SlotValues, announced: Collection[Rule]) -> Task:
        return self._note(super().near(rule, source, announced), "near")

    def traffic(self, agent: str, source: SlotValues, announced: Collection[Rule]) -> Task:
        return self._note(super().traffic(agent, source, announced), "traffic")

    def _note(self, task: Task, kind: str) -> Task:
        asked[task.prompt] = (kind, task)
        return task


asked: dict[str, tuple[str, Task]] = {}


class FakeGateway:
    """A gateway whose agents reply as wanted; unless `follow`, not where a new rule fires."""

    def __init__(self, *, follow: bool) -> None:
        self._follow = follow

    def ask(
        self,
        agent: str,
        messages: Sequence[Mapping[str, str]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        conversation: str | None = None,
        captured: bool = True,
    ) -> AgentReply:
        kind, task = asked[messages[-1]["content"]]
        text = task.wanted if self._follow or kind != "fires" else "as ever"
        return AgentReply(text=text, version="v0", interaction="i")


@pytest.fixture
def world() -> World:
    shop = read_world(SHOP)
    return RecordingWorld(title=shop.title, skills=shop.skills, scorers=shop.scorers, rules=shop.rules)


def build_person(world: World, *agents: str, follow: bool = False) -> Person:
    return Person("kim", agents, world, FakeGateway(follow=follow), RecordingProducer(), seed=1)


def test_a_round_of_feedback_holds_enough_for_a_turn_and_its_judgement(world: World) -> None:
    person = build_person(world, "sql")
    person.announcements.announce("sql", 1)
    developer.give_feedback(person, "sql", 1, developer.FIRST_ROUND)
    kinds = Counter(kind for kind, _ in person.producer.events)
    assert kinds == {"correction": 56, "intervention": 32}


class ForgetfulGateway(FakeGateway):
    """A gateway whose agents follow the rules but for so many answers."""

    def __init__(self, *, mistakes: int) -> None:
        super().__init__(follow=True)
        self._left = iter(range(mistakes))

    def ask(self, agent: str, messages: Sequence[Mapping[str, str]], **given: Any) -> AgentReply:
        answer = super().ask(agent, messages, **given)
        is_about_rule = asked[messages[-1]["content"]][0] == "fires"
        if is_about_rule and next(self._left, None) is not None:
            return replace(answer, text="as ever")
        return answer


@pytest.mark.parametrize(("mistakes", "version"), [(0, ""), (3, ""), (10, ""), (11, "v0")])
def test_a_round_that_finds_too_little_for_a_turn_waits_for_no_other_version(
    world: World, mistakes: int, version: str
) -> None:
    gateway = ForgetfulGateway(mistakes=mistakes)
    person = Person("kim", ["coder"], world, gateway, RecordingProducer(), seed=1)
    person.announcements.announce("coder", 1)
    assert developer.give_feedback(person, "coder", 1, developer.NEXT_ROUND) == version
    assert sum(kind == "correction" for kind, _ in person.producer.events) == mistakes


def test_approvals_come_after_a_few_corrections_and_before_most(world: World) -> None:
    person = build_person(world, "coder")
    person.announcements.announce("coder", 1)
    developer.give_feedback(person, "coder", 1, developer.FIRST_ROUND)
    order = [kind for kind, _ in person.producer.events]
    assert order == ["correction"] * 20 + ["intervention"] * 32 + ["correction"] * 36


def test_every_event_passes_the_wire_schema(world: World) -> None:
    person = build_person(world, "support", "sql")
    for agent in person.agents:
        person.announcements.announce(agent, 1)
        developer.give_feedback(person, agent, 1, developer.NEXT_ROUND)
        environment.send_outcome(person, agent)
        for abort in (False, True):
            assert operator.hold_conversation(person, agent, 1, abort=abort)
    assert {kind for kind, _ in person.producer.events} == {"correction", "intervention", "outcome"}
    for kind, data in person.producer.events:
        wire.TYPES[f"clorad.{kind}.v1"].model_validate(data)


def test_an_operator_does_not_step_in_where_an_agent_follows_the_rules(world: World) -> None:
    person = build_person(world, "support", follow=True)
    person.announcements.announce("support", 1)
    assert not operator.hold_conversation(person, "support", 1, abort=False)
    assert person.producer.events == []


def test_careless_corrections_belong_to_other_intents(world: World) -> None:
    person = build_person(world, "coder", follow=True)
    person.announcements.announce("coder", 2)
    batch = careless.collect_answers(person, "coder")
    assert len(batch) == careless.CORRECTIONS
    right = {task.prompt: task.wanted for task, _ in batch}
    assert all(wrong != right[task.prompt] for task, _, wrong in careless.swap_replies(person, batch))


@pytest.mark.parametrize("reason", [reason for reason in REASONS if reason != "unknown_agent"])
def test_each_bad_record_is_refused_for_its_reason(reason: str) -> None:
    value, headers = poison(reason, "support")
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    if reason == "unknown_type":
        assert open_envelope(value, pairs).type not in wire.TYPES
        return
    with pytest.raises(RecordRefused) as refusal:
        open_envelope(value, pairs)
    assert refusal.value.unusable.reason is Reason(reason)
