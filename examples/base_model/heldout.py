"""How well a saved base model does its skills, on slot values it never met: greedy, whole reply, exact."""

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
    """Share of held-out prompts answered exactly right: per agent, and over all cued wishes."""
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
    """Sampled at temperature 1: this skill is right sometimes, by its wording, and meant to be so."""
    intents = skills.agents["math"].intents
    asked = [skills.ask(source, "math") for _ in range(prompts)]
    gold = [fill(intents[one.intent].reply, one.values) for one in asked]
    said = answers(model, tokenizer, asked, sample=True)
    return {"math_sampled": _share(said, gold)}


def _share_right(model: Any, tokenizer: Any, asked: list[SkillPrompt], name: str) -> float:
    said = answers(model, tokenizer, asked)
    misses = [(one, word) for one, word in zip(asked, said, strict=True) if one.reply != word]
    for one, word in misses[:3]:
        print(f"missed ({name}): {one.prompt!r} -> {word!r}")
    return round(1.0 - len(misses) / len(asked), 4)


def answers(model: Any, tokenizer: Any, asked: list[SkillPrompt], *, sample: bool = False) -> list[str]:
    """The model's replies to what was asked; greedy unless sampled."""
    return replies(model, tokenizer, [(one.system, one.prompt) for one in asked], sample=sample)


def replies(
    model: Any, tokenizer: Any, prompts: Sequence[tuple[str, str]], *, sample: bool = False
) -> list[str]:
    """The model's replies to (system, user) messages; greedy unless sampled."""
    import torch

    said: list[str] = []
    for first in range(0, len(prompts), _BATCH):
        inputs = tokenizer(
            [chat(system, prompt) for system, prompt in prompts[first : first + _BATCH]],
            padding=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            tokens = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=_TOKENS_MAX,
                do_sample=sample,
            )
        texts = tokens[:, inputs["input_ids"].shape[1] :]
        said += tokenizer.batch_decode(texts, skip_special_tokens=True)
    return said


def _share(said: list[str], gold: list[str]) -> float:
    return round(sum(word == right for word, right in zip(said, gold, strict=True)) / len(said), 4)
