"""Prompt, reply and sampled tokens of an event, from its own texts and from the interaction it names."""

from rewards.episode import Part
from rewards.exchange import History, is_same_prompt
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
    (episode,) = episodes_of_turn([event], part=Part.NEW, history=HISTORY, baselines={})
    assert episode.messages == build_prompt("Stop  order 5")


def test_sampled_tokens_are_not_credited_to_another_prompt() -> None:
    data = {"messages": list(build_prompt("stop order 6")), "said": "cancel 5"}
    assert HISTORY.about(build_intervention(1, "reject", data, interaction="i").event).sampled is None


def test_prompts_with_other_roles_or_fewer_messages_differ() -> None:
    prompt = build_prompt("stop order 5")
    assert is_same_prompt(prompt, build_prompt("STOP ORDER 5"))
    assert not is_same_prompt(prompt, prompt[1:])
    assert not is_same_prompt(prompt, ({**prompt[0], "role": "user"}, prompt[1]))
