"""The base's chat template: prompts without tools as ever, tools in few tokens, calls as vLLM reads them."""

import random
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import examples.base_model
from engine.chat_template import ChatTemplate
from examples.base_model.conversations import ActingSkill
from examples.base_model.slots import SlotValues, read_words
from examples.base_model.tokenizer import CHAT_TEMPLATE, chat
from examples.base_model.training_data import targets_of

WEIGHTS = Path(examples.base_model.__path__[0]) / "weights"
PROMPT_TOKENS_MAX = 300
WEIGHTS_MB_MAX = 12


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(WEIGHTS)


def held_out_messages(skill: ActingSkill, count: int) -> list[list[Any]]:
    source = SlotValues(random.Random(3), read_words(), held_out=True)
    return [skill.messages(skill.ask(source)) for _ in range(count)]


def test_the_weights_have_this_template_and_stay_small(tokenizer: Any) -> None:
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < WEIGHTS_MB_MAX * 1e6


def test_a_prompt_without_tools_is_rendered_as_before_there_were_tools(tokenizer: Any) -> None:
    messages = [{"role": "system", "content": "sql agent"}, {"role": "user", "content": "count notes"}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == chat("sql agent", "count notes")
    assert max(tokenizer.encode(rendered)) < 768


def test_prompts_with_tools_are_short(tokenizer: Any, skill: ActingSkill) -> None:
    for messages in held_out_messages(skill, 100):
        ids = tokenizer.apply_chat_template(messages, tools=list(skill.tools))["input_ids"]
        assert len(ids) <= PROMPT_TOKENS_MAX


def test_tools_stand_in_the_system_message_or_in_one_of_their_own(tokenizer: Any, skill: ActingSkill) -> None:
    user = {"role": "user", "content": "hello"}
    tools = list(skill.tools)[:2]
    own = tokenizer.apply_chat_template([user], tools=tools, tokenize=False)
    assert own.startswith("<|im_start|>system\ntools: lookup(order) refund(order,amount)<|im_end|>\n")
    system = {"role": "system", "content": "desk agent"}
    both = tokenizer.apply_chat_template([system, user], tools=tools, tokenize=False)
    assert both.startswith("<|im_start|>system\ndesk agent\ntools: lookup(order)")


def test_every_turn_continues_the_prompt_before_it(tokenizer: Any, skill: ActingSkill) -> None:
    template = ChatTemplate(tokenizer)
    request = {"tools": list(skill.tools)}
    for messages in held_out_messages(skill, 20):
        whole = tokenizer.apply_chat_template(messages, tools=list(skill.tools), tokenize=False)
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                before = messages[:place]
                prompt = template.prompt(before, request, asked_s=0.0)
                reply = template.continuation(before, message, request, asked_s=0.0)
                assert whole.startswith(prompt + reply)


def test_training_is_about_what_the_agent_says(tokenizer: Any, skill: ActingSkill) -> None:
    [messages] = held_out_messages(skill, 1)
    ids = tokenizer.apply_chat_template(messages, tools=list(skill.tools))["input_ids"]
    said = "".join(tokenizer.decode([ids[place] for place in targets_of(ids, tokenizer)]))
    turns = said.split("<|im_end|>")
    wanted = [message for message in messages if message["role"] == "assistant"]
    assert len(turns) - 1 == len(wanted)
    assert turns[-2] == wanted[-1]["content"]
    assert turns[0].startswith('<tool_call>{"name":"lookup"')
