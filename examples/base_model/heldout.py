"""Measures a saved base model on slot values that it never trained on: greedy, the whole reply exact."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.base_model.skills import SkillPrompt, Skills
from examples.base_model.slots import SlotValues, fill, read_words
from examples.base_model.tokenizer import chat

_TOKENS_MAX = 56
_BATCH = 128


def accuracies(folder: Path, skills: Skills, *, prompts: int) -> dict[str, float]:
    """Share of held-out prompts with exactly the right reply: by agent, and over all cues."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    source = SlotValues(random.Random(5), read_words(), held_out=True)
    sets = {
        agent: [skills.ask(source, agent) for _ in range(prompts)]
        for agent in skills.agents
        if agent != "math"
    }
    cues = skills.cues()
    sets["cued"] = [
        skills.ask(source, agent, intent, cue=cue)
        for agent, intent, cue in (cues[number % len(cues)] for number in range(prompts))
    ]
    shares = {name: _share_right(model, tokenizer, asked, name) for name, asked in sets.items()}
    return {**shares, **_math(model, tokenizer, skills, source, prompts)}


def _math(model: Any, tokenizer: Any, skills: Skills, source: SlotValues, prompts: int) -> dict[str, float]:
    """Sampled at temperature 1: the base is right about this skill sometimes, on purpose."""
    intents = skills.agents["math"].intents
    asked = [skills.ask(source, "math") for _ in range(prompts)]
    gold = [fill(intents[prompt.intent].reply, prompt.values) for prompt in asked]
    return {"math_sampled": _share(answers(model, tokenizer, asked, sample=True), gold)}


def _share_right(model: Any, tokenizer: Any, asked: list[SkillPrompt], name: str) -> float:
    texts = answers(model, tokenizer, asked)
    misses = [(prompt, text) for prompt, text in zip(asked, texts, strict=True) if prompt.reply != text]
    for prompt, text in misses[:3]:
        print(f"missed ({name}): {prompt.prompt!r} -> {text!r}")
    return round(1.0 - len(misses) / len(asked), 4)


def answers(model: Any, tokenizer: Any, asked: list[SkillPrompt], *, sample: bool = False) -> list[str]:
    """The model's replies to the prompts; greedy unless sampled."""
    return replies(model, tokenizer, [(prompt.system, prompt.prompt) for prompt in asked], sample=sample)


def replies(
    model: Any, tokenizer: Any, prompts: Sequence[tuple[str, str]], *, sample: bool = False
) -> list[str]:
    """The model's replies to (system, user) messages; greedy unless sampled."""
    return continuations(
        model, tokenizer, [chat(system, prompt) for system, prompt in prompts], sample=sample
    )


def continuations(
    model: Any, tokenizer: Any, prompts: Sequence[str], *, sample: bool = False, tokens_max: int = _TOKENS_MAX
) -> list[str]:
    """What the model writes after rendered prompts; greedy unless sampled."""
    import torch

    decoded: list[str] = []
    for first in range(0, len(prompts), _BATCH):
        inputs = tokenizer(list(prompts[first : first + _BATCH]), padding=True, return_tensors="pt")
        with torch.no_grad():
            tokens = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=tokens_max,
                do_sample=sample,
            )
        new_tokens = tokens[:, inputs["input_ids"].shape[1] :]
        decoded += tokenizer.batch_decode(new_tokens, skip_special_tokens=True)
    return decoded


def _share(texts: list[str], gold: list[str]) -> float:
    return round(sum(text == right for text, right in zip(texts, gold, strict=True)) / len(texts), 4)
