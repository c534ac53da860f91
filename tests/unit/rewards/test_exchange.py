"""Prompt, reply and sampled tokens of an event, from its own texts and from the interaction it names."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from feedback.token_ids import pack
from rewards.baseline import NO_BASELINES
from rewards.episode import Part
from rewards.exchange import Exchange, History, is_same_prompt
from rewards.labelling import episodes_of_turn
from tests.unit.rewards.events import build_interaction, build_intervention, build_prompt

HISTORY = History(interactions={"i": build_interaction("i", "Stop  order 5", "cancel 5")}, conversations={})


def test_sampled_tokens_are_credited_to_a_prompt_that_the_client_sent_back_in_another_spelling() -> None:
    data = {"messages": list(build_prompt("ｓｔｏｐ order 5 ")), "said": "cancel 5"}
    exchange = HISTORY.about(build_intervention(1, "reject", data, interaction="i").event)
    assert exchange.sampled is not None
    assert exchange.messages == build_prompt("ｓｔｏｐ order 5 ")
    assert exchange.sampled_for == build_prompt("Stop  order 5"), (
        "the tokens were sampled for the prompt as captured"
    )


def test_an_advantage_is_trained_on_the_captured_prompt() -> None:
    data = {"messages": list(build_prompt("stop order 5")), "said": "cancel 5"}
    event = build_intervention(1, "reject", data, interaction="i")
    (episode,) = episodes_of_turn([event], part=Part.NEW, history=HISTORY, baselines=NO_BASELINES)
    assert episode.messages == build_prompt("Stop  order 5")


def test_sampled_tokens_are_not_credited_to_another_prompt() -> None:
    data = {"messages": list(build_prompt("stop order 6")), "said": "cancel 5"}
    assert HISTORY.about(build_intervention(1, "reject", data, interaction="i").event).sampled is None


def test_prompts_with_other_roles_or_fewer_messages_differ() -> None:
    prompt = build_prompt("stop order 5")
    assert is_same_prompt(prompt, build_prompt("STOP ORDER 5"))
    assert not is_same_prompt(prompt, prompt[1:])
    assert not is_same_prompt(prompt, ({**prompt[0], "role": "user"}, prompt[1]))


TOOLS = [{"type": "function", "function": {"name": "stock"}}]
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "stock", "arguments": '{"item": "nuts"}'}}
    ],
}
ACTING = replace(
    build_interaction("acting", "bolts?", ""),
    reply=CALL,
    request={"tools": TOOLS, "reasoning_effort": "low"},
    packed_prompt=pack((7, 8, 70_000)),
)


def about(data: Mapping[str, Any], **changed: Any) -> Exchange:
    interaction = replace(ACTING, **changed)
    history = History(interactions={"acting": interaction}, conversations={})
    return history.about(build_intervention(1, "reject", data, interaction="acting").event)


def test_a_reply_with_calls_was_asked_with_what_was_captured() -> None:
    exchange = about({})
    assert exchange.said == CALL
    assert exchange.reply == '[{"name": "stock", "arguments": {"item": "nuts"}}]'
    assert exchange.request == ACTING.request
    assert exchange.prompt_ids == exchange.sampled_prompt_ids == (7, 8, 70_000)
    assert exchange.sampled_ids == (1, 2, 3)


def test_a_call_that_a_client_sends_back_in_another_spelling_is_the_one_that_was_sampled() -> None:
    function = {"name": "stock", "arguments": {"item": "nuts"}}
    said = {**CALL, "tool_calls": [{"id": "x", "type": "function", "function": function}]}
    assert about({"messages": list(build_prompt("bolts?")), "said": said}).sampled is not None
    assert about({"messages": list(build_prompt("bolts?")), "said": "nuts"}).sampled is None


def test_tokens_of_which_only_some_could_be_sampled_have_no_log_probabilities_to_learn_from() -> None:
    exchange = about({}, restrictions=("tool_choice",))
    assert exchange.sampled is None
    assert (exchange.sampled_ids, exchange.restrictions) == ((1, 2, 3), ("tool_choice",))


def test_an_event_that_says_other_tools_is_about_another_prompt() -> None:
    other = [{"type": "function", "function": {"name": "order"}}]
    assert about({"tools": TOOLS}).prompt_ids == (7, 8, 70_000)
    exchange = about({"tools": other})
    assert exchange.request == {"tools": other, "reasoning_effort": "low"}
    assert (exchange.prompt_ids, exchange.sampled, exchange.sampled_ids) == ((), None, ())
    assert about({"chat_template_kwargs": {"enable_thinking": False}}).prompt_ids == ()


def test_the_ids_of_a_prompt_are_not_those_of_its_other_spelling() -> None:
    spelled = {"messages": list(build_prompt("BOLTS?"))}
    exchange = about(spelled)
    assert exchange.prompt_ids == ()
    assert exchange.sampled_prompt_ids == (7, 8, 70_000)


def test_prompts_with_other_calls_in_them_differ() -> None:
    other = {**CALL, "tool_calls": [{"id": "c1", "function": {"name": "stock", "arguments": "{}"}}]}
    asked = build_prompt("bolts?")
    assert not is_same_prompt((*asked, CALL), (*asked, other))
    assert is_same_prompt((*asked, CALL), (*asked, {**CALL, "name": "agent"}))


def prompt_of(data: Mapping[str, Any], *, interaction: str | None = "acting", **changed: Any) -> str:
    history = History(interactions={"acting": replace(ACTING, **changed)}, conversations={})
    return history.prompt_of(build_intervention(1, "reject", data, interaction=interaction).event)


def test_how_the_prompt_of_an_event_is_known_can_be_said() -> None:
    asked = {"messages": list(build_prompt("bolts?")), "said": CALL}
    other = {**asked, "messages": list(build_prompt("nuts?"))}
    assert prompt_of({}) == prompt_of(asked) == "as it was served, 3 tokens"
    assert prompt_of(asked, interaction=None) == "rendered from the event's messages"
    assert prompt_of(other).endswith("another prompt than the captured one")
    assert prompt_of({"tools": []}).endswith("other ones than those captured")
    for reason, words in (("redacted", "redaction"), ("too_large", "Kafka"), (None, "of that time")):
        assert words in prompt_of({}, packed_prompt=None, ids_left_out=reason)
    assert prompt_of({}, interaction=None) == "not known"
