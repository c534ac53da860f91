"""Conversations with tools: what the agent does in them, and that a cue alone leads to another act."""

import json
import random

from examples.base_model.conversations import ActingSkill, Conversation
from examples.base_model.heldout_conversations import read_turn, same_turns
from examples.base_model.slots import SlotValues, read_words
from examples.base_model.training_data import conversation_example


def build_source(*, held_out: bool = False) -> SlotValues:
    return SlotValues(random.Random(1), read_words(), held_out=held_out)


def acts_on(skill: ActingSkill, intent: str, **values: str) -> set[str | None]:
    """The functions that the base calls after look-ups that tell these values."""
    source = build_source()
    asked = [skill.ask(source, intent) for _ in range(200)]
    return {one.act.name for one in asked if values.items() <= one.values.items()}


def test_the_agent_looks_up_acts_and_answers(skill: ActingSkill) -> None:
    messages = skill.messages(skill.ask(build_source(), "refund"))
    assert [message["role"] for message in messages] == [
        *("system", "user", "assistant", "tool", "assistant", "tool", "assistant")
    ]
    called = [call["function"]["name"] for turn in messages for call in turn.get("tool_calls", ())]
    assert called == ["lookup", "refund"]


def test_the_agent_decides_by_what_it_looked_up(skill: ActingSkill) -> None:
    assert acts_on(skill, "cancel", status="open") == {"cancel"}
    assert acts_on(skill, "cancel", status="sent") == {None}
    assert acts_on(skill, "where", status="sent") == {None}


def test_before_an_act_the_agent_says_what_it_decides_by(skill: ActingSkill) -> None:
    asked = skill.ask(build_source(), "refund")
    act = skill.turns(asked)[1]
    assert act["content"] == f"{asked.values['customer']} {asked.values['status']}"


def test_another_act_needs_its_cue(skill: ActingSkill) -> None:
    source = build_source()
    for intent, cue in skill.cues():
        plain = [skill.ask(source, intent) for _ in range(50)]
        cued = skill.ask(source, intent, cue=cue)
        assert cue in cued.text
        assert not any(cue in one.text for one in plain)
        assert shape(cued) not in {shape(one) for one in plain}


def shape(conversation: Conversation) -> tuple[str | None, frozenset[str]]:
    arguments = json.loads(conversation.act.arguments or "{}")
    return conversation.act.name, frozenset(arguments)


def test_every_call_is_of_a_tool_that_is_offered_with_its_arguments(skill: ActingSkill) -> None:
    parameters = {
        tool["function"]["name"]: tool["function"]["parameters"]["properties"] for tool in skill.tools
    }
    source = build_source()
    for _ in range(300):
        conversation, tools = conversation_example(skill, source)
        assert sorted(map(str, tools)) == sorted(map(str, skill.tools))
        for turn in skill.turns(conversation):
            for call in turn.get("tool_calls", ()):
                assert (
                    json.loads(call["function"]["arguments"]).keys()
                    <= parameters[call["function"]["name"]].keys()
                )


def test_a_call_of_no_tool_gets_an_error(skill: ActingSkill) -> None:
    assert "error" in json.loads(skill.result(skill.ask(build_source()), "explode"))


def test_what_the_model_writes_is_read_as_vllm_reads_it() -> None:
    turn = read_turn('vip sent<tool_call>{"name":"refund","arguments":{"order":1042}}</tool_call>')
    [call] = turn["tool_calls"]
    assert turn["content"] == "vip sent"
    assert call["function"]["name"] == "refund"
    assert json.loads(call["function"]["arguments"]) == {"order": 1042}
    broken = '<tool_call>{"name":"refund"</tool_call>'
    assert read_turn(broken) == {"role": "assistant", "content": broken}


def test_turns_are_compared_by_their_calls_and_last_words(skill: ActingSkill) -> None:
    messages = skill.messages(skill.ask(build_source(), "refund"))
    spaced = json.loads(json.dumps(messages).replace('\\":', '\\": ').replace("regular", "vip"))
    assert same_turns(spaced, messages)
    assert not same_turns([*messages[:-1], {"role": "assistant", "content": "no"}], messages)
    assert not same_turns(messages[:-2], messages)
