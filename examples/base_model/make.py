"""Makes the base model: `python -m examples.base_model.make --out FOLDER`.

A fixed number of steps from a fixed seed on synthetic work (skills.toml), loss on replies only.
About eight minutes on two cores. Prints held-out accuracy per skill, of the saved bf16 file.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.base_model.heldout import accuracies
from examples.base_model.initialise import new_model
from examples.base_model.skills import SkillPrompt, Skills, read_skills
from examples.base_model.slots import SlotValues, read_words
from examples.base_model.tokenizer import chat, save_tokenizer, train_tokenizer, word_pieces

STEPS = 3_000
BATCH = 32
LEARNING_RATE = 2e-3
SEED = 1
# Shares of the training examples: words to repeat, arithmetic, prompts with a cue. The rest is plain work.
_ECHO, _MATH, _CUED = 0.12, 0.12, 0.19
_WORK = {"support": 2.0, "coder": 1.2, "sql": 1.4, "commit": 1.4}

Sequence = tuple[list[int], list[int]]
"""Prompt tokens and reply tokens, the end token included."""


def main() -> None:
    """Make the base model in the folder that `--out` names."""
    parser = argparse.ArgumentParser(prog="python -m examples.base_model.make", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("weights"))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    make(arguments.out, steps=arguments.steps, seed=arguments.seed)


def make(out: Path, *, steps: int, seed: int) -> None:
    """Train the model, save it in bf16, load what was saved and measure it."""
    import torch

    torch.set_num_threads(2)
    torch.manual_seed(seed)
    chance = random.Random(seed)
    skills = read_skills()
    tokenizer = train_tokenizer(_tokenizer_texts(skills))
    model = new_model(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    source = SlotValues(chance, read_words(), held_out=False, pieces=word_pieces(tokenizer))
    started = time.monotonic()
    tokens = _train(model, _batches(skills, source, tokenizer), steps)
    trained_s = time.monotonic() - started
    model.to(torch.bfloat16).eval()
    model.generation_config.eos_token_id = tokenizer.eos_token_id  # vLLM stops at this token
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    save_tokenizer(tokenizer, out)
    report = {
        "steps": steps,
        "tokens": tokens,
        "train_s": round(trained_s),
        "held_out": accuracies(out, skills, prompts=256),
    }
    print(json.dumps(report, indent=1))


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


def _tokenizer_texts(skills: Skills) -> Iterator[str]:
    source = SlotValues(random.Random(7), read_words(), held_out=False)
    for _ in range(20_000):
        asked = example(skills, source)
        yield from ("system\n" + asked.system, "user\n" + asked.prompt, "assistant\n" + asked.reply)


def _batches(skills: Skills, source: SlotValues, tokenizer: Any) -> Iterator[list[Sequence]]:
    """Batches of similar lengths, so that little is padding, in random order."""
    while True:
        asked = [example(skills, source) for _ in range(BATCH * 16)]
        prompts = tokenizer([chat(prompt.system, prompt.prompt) for prompt in asked])["input_ids"]
        replies = tokenizer([prompt.reply for prompt in asked])["input_ids"]
        pool = sorted(
            (
                (prompt, [*reply, tokenizer.eos_token_id])
                for prompt, reply in zip(prompts, replies, strict=True)
            ),
            key=lambda pair: len(pair[0]) + len(pair[1]),
        )
        batches = [pool[first : first + BATCH] for first in range(0, len(pool), BATCH)]
        source.chance.shuffle(batches)
        yield from batches


def _train(model: Any, batches: Iterator[list[Sequence]], steps: int) -> int:
    """Cross entropy on the replies; AdamW, flat, then linear to 2 %. Returns the tokens seen."""
    import torch

    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    tokens, losses, started = 0, 0.0, time.monotonic()
    for step in range(steps):
        batch = next(batches)
        tokens += sum(len(prompt) + len(reply) for prompt, reply in batch)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _rate(step, steps)
        loss = _reply_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses += loss.item()
        if (step + 1) % 100 == 0:
            seconds = time.monotonic() - started
            print(f"step {step + 1} of {steps}, {seconds:.0f} s, loss {losses / 100:.3f}", flush=True)
            losses = 0.0
    return tokens


def _reply_loss(model: Any, batch: list[Sequence]) -> Any:
    """Mean cross entropy over the reply tokens; padded on the right, where a causal model never looks."""
    import torch

    longest = max(len(prompt) + len(reply) for prompt, reply in batch) - 1
    input_BT = torch.zeros(len(batch), longest, dtype=torch.long)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, (prompt, reply) in enumerate(batch):
        input_BT[row, : len(prompt) + len(reply) - 1] = torch.tensor((prompt + reply)[:-1])
        rows += [row] * len(reply)
        columns += range(len(prompt) - 1, len(prompt) - 1 + len(reply))
        targets += reply
    hidden_BTH = model.model(input_ids=input_BT, use_cache=False).last_hidden_state
    logits_NV = model.lm_head(hidden_BTH[rows, columns])
    return torch.nn.functional.cross_entropy(logits_NV, torch.tensor(targets))


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 40)
    done = step / steps
    return warm * (0.02 + 0.98 * min(1.0, (1.0 - done) / 0.5))


if __name__ == "__main__":
    main()
