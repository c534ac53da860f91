"""Batches of real text for one update: house rules of the example shop, and conversations with tools.

Everything is tokenised with SmolLM2's own tokenizer and chat template, as in a turn. Each agent has prompts
of its own: its number chooses their slot values.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache

from bench.updates import Sequences
from engine.tokens import Tokens, load_tokens
from examples.real_base.make import REAL_BASE
from examples.real_base.prose_world import ProsePrompt, ProseWorld, read_prose_world
from rewards.episode import Episode, Message, Part, Weighted

SEQUENCES = 8  # of an agent in one update
SYSTEM_TOKENS = 300
CONVERSATION_TOKENS = 400  # of system prompt and tools

_VOCABULARY = 49_152  # of SmolLM2
_TOKENS_MAX = 8192
_TOOLS = {
    "refund": {"order": "number of the order", "amount": "euros to pay back"},
    "cancel": {"order": "number of the order"},
    "address": {"order": "number of the order", "city": "where it goes instead"},
}
_RESULT = 'Result: {"ok":true,"message":"done, the customer gets a mail"}'
_REPORT = "That is done. You will get a message within the hour."

Turn = tuple[tuple[Message, ...], str]
"""What was said before a reply, and the reply that people want."""


def real_sequences(regime: str, agent: int) -> Sequences:
    """The batch of one agent in one update: prompts, each with one completion.

    `episodes`: corrections; their prompts have only a short system message in common. `system300`: the same
    after a system prompt of 300 tokens. `conversations`: the assistant's turns of one conversation after a
    system prompt of 400 tokens; the prompt of each turn contains all earlier turns.
    """
    if regime == "conversations":
        return [_tokenised(turn) for turn in conversation(agent, _count_tokens)]
    world = read_prose_world()
    name = sorted(world.agents)[agent % len(world.agents)]
    turns = _corrected(world, name, seed=str(agent))[:SEQUENCES]
    if regime == "system300":
        system = _manual(world, world.agents[name].system, SYSTEM_TOKENS, _count_tokens)
        turns = [((system, *messages[1:]), reply) for messages, reply in turns]
    return [_tokenised(turn) for turn in turns]


def conversation(agent: int, count_tokens: Callable[[str], int]) -> list[Turn]:
    """The assistant's turns of one conversation: a call, and a sentence after its result, by turns."""
    world = read_prose_world()
    tools = json.dumps([{"name": name, "arguments": fields} for name, fields in _TOOLS.items()])
    system = f"{world.agents['support'].system}\nTools: {tools}"
    messages: list[Message] = [_manual(world, system, CONVERSATION_TOKENS, count_tokens)]
    turns: list[Turn] = []
    for (_, request), call in _corrected(world, "support", seed=str(agent))[: SEQUENCES // 2]:
        for asked, reply in ((request, call), ({"role": "user", "content": _RESULT}, _REPORT)):
            messages.append(asked)
            turns.append((tuple(messages), reply))
            messages.append({"role": "assistant", "content": reply})
    return turns


def real_episodes(agent: str, *, corrections: int, anchors: int) -> list[Episode]:
    """The episodes of one turn: corrections, and prompts that no rule is about.

    The base's own replies to those would take longer to generate than the measurement; other prose of the
    world, which is about as long, stands for them.
    """
    world = read_prose_world()
    near, chat = (
        world.beside(agent, kind, anchors, seed="bench", held_out=False) for kind in ("near", "chat")
    )
    texts = [reply for _, reply in _corrected(world, "writer", seed="bench")]
    kept = [(prompt.messages, text) for prompt, text in zip([*near, *chat], texts * anchors, strict=False)][
        :anchors
    ]
    taught = _corrected(world, agent, seed="bench")[:corrections]
    return [
        *(_episode(turn, Part.NEW) for turn in taught),
        *(_episode(turn, Part.ANCHOR) for turn in kept),
    ]


@cache
def real_tokens() -> Tokens:
    """SmolLM2's tokenizer and chat template."""
    return load_tokens(REAL_BASE, vocabulary=_VOCABULARY)


def _corrected(world: ProseWorld, agent: str, *, seed: str) -> list[Turn]:
    """Prompts about each rule of the agent in turn, with the replies that people want."""
    rules = [rule for rule in world.rules if rule.agent == agent]
    prompts: Sequence[Sequence[ProsePrompt]] = [
        world.about(rule, SEQUENCES * SEQUENCES, seed=f"bench {seed}", held_out=False) for rule in rules
    ]
    together = (prompt for group in zip(*prompts, strict=False) for prompt in group)
    return [(prompt.messages, str(prompt.wanted)) for prompt in together]


def _manual(world: ProseWorld, system: str, tokens: int, count_tokens: Callable[[str], int]) -> Message:
    """A system message that continues with the world's rules, up to so many tokens."""
    words = " ".join(f"{rule.comment}: {rule.reply.strip()}" for rule in world.rules).split()
    text, added = f"{system}\nHouse rules:", 0
    while count_tokens(text) < tokens:
        text = f"{text} {words[added % len(words)]}"
        added += 1
    return {"role": "system", "content": text}


def _count_tokens(text: str) -> int:
    return len(real_tokens().text_ids(text))


def _tokenised(turn: Turn) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    sample = real_tokens().sample(_episode(turn, Part.NEW), tokens_max=_TOKENS_MAX)
    return sample.prompt_ids, (sample.reply.token_ids,)


def _episode(turn: Turn, part: Part) -> Episode:
    messages, reply = turn
    return Episode(events=("bench#1",), part=part, mass=1.0, messages=messages, reply=Weighted(text=reply))
