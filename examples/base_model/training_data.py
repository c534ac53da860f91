"""The examples that the base model is trained on: prompts with one reply, and conversations with tools."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from examples.base_model.conversations import ActingSkill, Conversation, read_acting_skill
from examples.base_model.skills import SkillPrompt, Skills
from examples.base_model.slots import SlotValues, read_words
from examples.base_model.tokenizer import START, chat

BATCH = 32
CONVERSATIONS_BATCH = 16
# Shares of the training examples: words to repeat, arithmetic, prompts with a cue. The rest is plain work.
_ECHO, _MATH, _CUED = 0.12, 0.12, 0.19
_CONVERSATIONS = 0.5  # share of the mixed steps
_CUED_CONVERSATIONS = 0.4
_WORK = {"support": 2.0, "coder": 1.2, "sql": 1.4, "commit": 1.4}

Sequence = tuple[list[int], list[int]]
"""Tokens, and the places of those that the agent says, the end of each turn included."""


def example(skills: Skills, source: SlotValues) -> SkillPrompt:
    """One training example."""
    share = source.chance.random()
    if share < _ECHO:
        return _echo(source)
    if share < _ECHO + _MATH:
        return skills.ask(source, "math")
    if share < _ECHO + _MATH + _CUED:
        agent, intent, cue = source.chance.choice(skills.cues())
        return skills.ask(source, agent, intent, cue=cue)
    return skills.ask(source, source.chance.choices(tuple(_WORK), tuple(_WORK.values()))[0])


def _echo(source: SlotValues) -> SkillPrompt:
    """Words and numbers to repeat, which trains copying alone."""
    text = " ".join(
        _stuttered(str(source.number(0, 9999)) if source.chance.random() < 0.35 else source.word(), source)
        for _ in range(source.chance.randint(2, 5))
    )
    return SkillPrompt(agent="echo", system="echo agent", intent="echo", prompt=text, reply=text, values={})


def _stuttered(text: str, source: SlotValues) -> str:
    """The text, sometimes with one character doubled: small models copy that worst (mirror, 955)."""
    if source.chance.random() < 0.6:
        return text
    place = source.chance.randrange(len(text))
    return text[: place + 1] + text[place:]


def tokenizer_texts(skills: Skills) -> Iterator[str]:
    """What the vocabulary is made of."""
    source = SlotValues(random.Random(7), read_words(), held_out=False)
    for _ in range(20_000):
        asked = example(skills, source)
        yield from ("system\n" + asked.system, "user\n" + asked.prompt, "assistant\n" + asked.reply)


def prompt_batches(skills: Skills, source: SlotValues, tokenizer: Any) -> Iterator[list[Sequence]]:
    """Batches of prompts with one reply."""

    def sequences() -> list[Sequence]:
        asked = [example(skills, source) for _ in range(BATCH * 16)]
        prompts = tokenizer([chat(prompt.system, prompt.prompt) for prompt in asked])["input_ids"]
        replies = tokenizer([prompt.reply for prompt in asked])["input_ids"]
        return [
            (
                [*prompt, *reply, tokenizer.eos_token_id],
                list(range(len(prompt), len(prompt) + len(reply) + 1)),
            )
            for prompt, reply in zip(prompts, replies, strict=True)
        ]

    return _sorted_batches(sequences, source.chance, BATCH)


def conversation_batches(source: SlotValues, tokenizer: Any) -> Iterator[list[Sequence]]:
    """Batches of whole conversations with tools."""
    skill = read_acting_skill()

    def sequences() -> list[Sequence]:
        texts = [
            tokenizer.apply_chat_template(skill.messages(asked), tools=tools, tokenize=False)
            for asked, tools in (conversation_example(skill, source) for _ in range(BATCH * 8))
        ]
        return [(tokens, targets_of(tokens, tokenizer)) for tokens in tokenizer(texts)["input_ids"]]

    return _sorted_batches(sequences, source.chance, CONVERSATIONS_BATCH)


def conversation_example(
    skill: ActingSkill, source: SlotValues
) -> tuple[Conversation, list[Mapping[str, Any]]]:
    """One conversation to train on, and the tools offered in it: all, in an order that sometimes changes."""
    tools = list(skill.tools)
    if source.chance.random() < 0.3:
        source.chance.shuffle(tools)
    if source.chance.random() < _CUED_CONVERSATIONS:
        request, cue = source.chance.choice(skill.cues())
        return skill.ask(source, request, cue=cue), tools
    return skill.ask(source), tools


def targets_of(tokens: list[int], tokenizer: Any) -> list[int]:
    """The places of the tokens that the agent says, the end of each turn included."""
    opening = tokenizer.encode(f"{START}assistant\n")
    spoken: list[int] = []
    place = 0
    while place < len(tokens):
        if tokens[place : place + len(opening)] != opening:
            place += 1
            continue
        place += len(opening)
        until = tokens.index(tokenizer.eos_token_id, place) + 1
        spoken += range(place, until)
        place = until
    return spoken


def _sorted_batches(
    sequences: Callable[[], list[Sequence]], chance: random.Random, size: int
) -> Iterator[list[Sequence]]:
    """Batches of similar lengths, so that little is padding, in random order."""
    while True:
        pool = sorted(sequences(), key=lambda sequence: len(sequence[0]))
        batches = [pool[first : first + size] for first in range(0, len(pool), size)]
        chance.shuffle(batches)
        yield from batches


def mixed_batches(
    first: Iterator[list[Sequence]], second: Iterator[list[Sequence]], chance: random.Random
) -> Iterator[list[Sequence]]:
    """Batches of both kinds, in random order."""
    while True:
        yield next(second if chance.random() < _CONVERSATIONS else first)
