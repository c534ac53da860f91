"""Measures a saved base model on conversations with tools whose slot values it never trained on."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.base_model.conversations import ActingSkill, Conversation, Message
from examples.base_model.heldout import continuations
from examples.base_model.slots import SlotValues, read_words

TURNS_MAX = 5
TOKENS_MAX = 64
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def share_right(folder: Path, skill: ActingSkill, *, conversations: int) -> dict[str, float]:
    """Share of held-out conversations with the right calls and words in every turn: by request, and cued."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    source = SlotValues(random.Random(6), read_words(), held_out=True)
    sets = {name: [skill.ask(source, name) for _ in range(conversations)] for name in skill.requests}
    cues = skill.cues()
    sets["cued"] = [
        skill.ask(source, name, cue=cue)
        for name, cue in (cues[place % len(cues)] for place in range(conversations))
    ]
    shares = {}
    for name, asked in sets.items():
        held = play(model, tokenizer, skill, asked)
        right = [
            same_turns(messages, skill.messages(conversation))
            for messages, conversation in zip(held, asked, strict=True)
        ]
        missed = [messages for messages, is_right in zip(held, right, strict=True) if not is_right]
        for messages in missed[:2]:
            print(f"missed ({name}): {messages[1:]}")
        shares[name] = round(sum(right) / len(right), 4)
    return shares


def play(
    model: Any, tokenizer: Any, skill: ActingSkill, asked: Sequence[Conversation]
) -> list[list[Message]]:
    """Hold the conversations, greedy, with simulated tools, until the agent answers without a call."""
    held = [skill.opening(conversation) for conversation in asked]
    for _ in range(TURNS_MAX):
        open_ones = [place for place, messages in enumerate(held) if not _is_over(messages)]
        texts = [
            tokenizer.apply_chat_template(
                held[place], tools=list(skill.tools), tokenize=False, add_generation_prompt=True
            )
            for place in open_ones
        ]
        written = continuations(model, tokenizer, texts, tokens_max=TOKENS_MAX)
        for place, text in zip(open_ones, written, strict=True):
            turn = read_turn(text)
            held[place] += [turn, *skill.results(asked[place], turn)]
    return held


def read_turn(text: str) -> Message:
    """The assistant message in what the model wrote, as vLLM's parser `hermes` makes it."""
    try:
        calls = [_call(json.loads(body)) for body in _CALL.findall(text)]
    except (ValueError, KeyError, TypeError):
        calls = []
    if not calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text[: text.find("<tool_call>")], "tool_calls": calls}


def same_turns(held: Sequence[Message], wanted: Sequence[Message]) -> bool:
    """Whether the agent's turns make the same calls, with arguments equal as JSON, and end alike."""
    return _turns(held) == _turns(wanted)


def _turns(messages: Sequence[Message]) -> list[Any]:
    return [
        [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message["tool_calls"]
        ]
        if message.get("tool_calls")
        else message["content"]
        for message in messages
        if message["role"] == "assistant"
    ]


def _call(body: Mapping[str, Any]) -> Mapping[str, Any]:
    function = {"name": body["name"], "arguments": json.dumps(body["arguments"])}
    return {"id": f"call_{body['name']}", "type": "function", "function": function}


def _is_over(messages: Sequence[Message]) -> bool:
    return bool(messages[-1]["role"] == "assistant")
