"""Conversations with the agent that has tools: held to their end, taken over in the middle, and shown."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from examples.base_model.conversations import ActingSkill, Conversation, Message
from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.people import operator
from examples.house_rules.people.gateway import AgentReply, GatewayClient
from examples.house_rules.people.person import Person
from examples.house_rules.people.talk import continued, first_wrong, takeover_lines, talk, talk_lines
from examples.house_rules.shown_talks import ShownTalks
from examples.house_rules.world import World
from feedback.wire import Intervention
from rewards.replies import reply_text

AGENT = "desk"


class ScriptedGateway(GatewayClient):
    """A gateway whose agent does what the base does; `follow`: what people want under the first wave."""

    def __init__(self, world: World, *, follow: bool = False) -> None:
        self._world = world
        self._rules = world.announced(AGENT, 1) if follow else ()
        self.asked: list[Conversation] = []

    def ask(self, agent: str, messages: Sequence[Message], **options: Any) -> AgentReply:
        assert agent == AGENT
        assert options["tools"]
        skill = self._world.acting
        assert skill is not None
        [asked] = [one for one in self.asked if one.text == messages[1]["content"]]
        turn = sum(message["role"] == "assistant" for message in messages)
        said = skill.turns(self._world.wanted(asked, self._rules))[turn]
        calls = said if said.get("tool_calls") else None
        return AgentReply(text=reply_text(said), version="v0", interaction=f"i-{turn}", message=calls)


def ruled_conversation(world: World) -> Conversation:
    source = SlotValues(random.Random(1), read_words(), held_out=False)
    return world.ruled_conversation(world.of_wave(AGENT, 1)[0], source)


def test_a_conversation_is_held_until_the_agent_answers(world: World, skill: ActingSkill) -> None:
    gateway = ScriptedGateway(world)
    gateway.asked.append(asked := ruled_conversation(world))
    held = talk(gateway, skill, asked, name="one")
    assert held.messages == skill.messages(asked)
    assert held.before(1) == held.messages[:4]
    assert [reply.interaction for reply in held.replies] == ["i-0", "i-1", "i-2"]


def test_the_first_wrong_turn_is_found(world: World, skill: ActingSkill) -> None:
    gateway = ScriptedGateway(world)
    gateway.asked.append(asked := ruled_conversation(world))
    held = talk(gateway, skill, asked)
    assert first_wrong(held, skill.turns(asked)) is None
    assert first_wrong(held, skill.turns(world.wanted(asked, world.of_wave(AGENT, 1)))) == 1


class RecordingProducer:
    """A producer that keeps the events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def send_event(self, kind: str, data: dict[str, Any], *, key: str) -> str:
        self.events.append((kind, data))
        return key


class RememberingWorld(World):
    """A world that tells the gateway what it asks."""

    def ruled_conversation(self, rule: Any, source: SlotValues) -> Conversation:
        asked = super().ruled_conversation(rule, source)
        self.gateway.asked.append(asked)  # type: ignore[attr-defined]
        return asked


@pytest.mark.parametrize("abort", [False, True])
def test_an_operator_steps_in_before_a_wrong_call_is_run(
    world: World, abort: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    person, producer = build_person(world, follow=False)
    assert operator.hold_conversation(person, AGENT, 1, abort=abort)
    [(kind, data)] = producer.events
    assert (kind, data["turn"], data["interaction"]) == ("intervention", 1, "i-1")
    event = Intervention.model_validate(data)
    if abort:
        assert event.action == "abort"
        return
    assert [turn["role"] for turn in event.turns or ()] == ["assistant", "tool", "assistant"]
    assert reply_text(data["turns"][0]).startswith('[{"name": "handover"')
    assert "operator: " in capsys.readouterr().out


def test_an_operator_leaves_a_right_conversation_alone(world: World) -> None:
    person, producer = build_person(world, follow=True)
    assert not operator.hold_conversation(person, AGENT, 1, abort=False)
    assert not producer.events


def build_person(world: World, *, follow: bool) -> tuple[Person, RecordingProducer]:
    remembering = RememberingWorld(
        title=world.title,
        skills=world.skills,
        scorers=world.scorers,
        rules=world.rules,
        acting=world.acting,
    )
    gateway, producer = ScriptedGateway(world, follow=follow), RecordingProducer()
    object.__setattr__(remembering, "gateway", gateway)
    person = Person("kim", (AGENT,), remembering, gateway, producer, seed=1)  # type: ignore[arg-type]
    person.announcements.announce(AGENT, 1)
    return person, producer


def test_people_read_who_said_and_called_what(world: World, skill: ActingSkill) -> None:
    asked = ruled_conversation(world)
    right = skill.turns(world.wanted(asked, world.of_wave(AGENT, 1)))
    order, amount = asked.values["order"], asked.values["amount"]
    lines = talk_lines(skill.messages(asked))
    assert lines[0] == f"user: {asked.text}"
    assert lines[1] == f"agent: lookup(order={order})"
    assert lines[3] == f"agent: vip {asked.values['status']} refund(order={order}, amount={amount})"
    before = skill.messages(asked)[:4]
    shown = takeover_lines(before, skill.turns(asked)[1], continued(skill, asked, right[1:]))
    assert shown[:3] == lines[:3]
    assert shown[3].startswith("agent was about to: vip")
    assert shown[-1] == f"operator: finance looks at order {order}"


@pytest.mark.parametrize(("follow", "verdict"), [(True, "is right"), (False, "is not as people want")])
def test_the_next_conversation_is_shown_with_its_verdict(
    world: World, monkeypatch: pytest.MonkeyPatch, follow: bool, verdict: str
) -> None:
    person, _ = build_person(world, follow=follow)
    shown: list[str] = []
    talks = ShownTalks(person.world, "http://127.0.0.1:1", shown.append)
    monkeypatch.setattr(talks, "_gateway", person.gateway)
    talks.show_next("coder", 1)
    assert not shown
    talks.show_next(AGENT, 1)
    assert verdict in shown[0]
    assert shown[1].startswith("  user: ")


def test_one_takeover_is_shown(world: World) -> None:
    shown: list[str] = []
    talks = ShownTalks(world, "http://127.0.0.1:1", shown.append)
    for _ in range(2):
        talks.show_takeover("operator", AGENT, ["user: hello"])
    assert shown == ["operator takes over a conversation with desk:", "  user: hello"]
