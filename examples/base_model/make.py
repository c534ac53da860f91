"""Makes the base model: `python -m examples.base_model.make --out FOLDER`.

A fixed number of steps from a fixed seed on synthetic work: prompts with one reply (skills.toml), and
conversations with tools (conversations.toml). The loss is on what the agent says. Prints held-out accuracy
per skill, of the saved bf16 file.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.base_model.conversations import read_acting_skill
from examples.base_model.heldout import accuracies
from examples.base_model.heldout_conversations import share_right
from examples.base_model.initialise import new_model
from examples.base_model.skills import read_skills
from examples.base_model.slots import SlotValues, read_words
from examples.base_model.tokenizer import save_tokenizer, train_tokenizer, word_pieces
from examples.base_model.training_data import (
    Sequence,
    conversation_batches,
    mixed_batches,
    prompt_batches,
    tokenizer_texts,
)

STEPS = 3_000  # each of single prompts, or of conversations with tools
LEARNING_RATE = 2e-3
SEED = 1


def main() -> None:
    """Make the base model in the folder that `--out` names."""
    parser = argparse.ArgumentParser(prog="python -m examples.base_model.make", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("weights"))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--start", type=Path, default=None, help="weights to train on, instead of new ones")
    arguments = parser.parse_args()
    make(arguments.out, steps=arguments.steps, seed=arguments.seed, start=arguments.start)


def make(out: Path, *, steps: int, seed: int, start: Path | None = None) -> None:
    """Train the model, save it in bf16, load what was saved and measure it."""
    import torch

    torch.set_num_threads(2)
    torch.manual_seed(seed)
    chance = random.Random(seed)
    skills = read_skills()
    tokenizer = train_tokenizer(tokenizer_texts(skills))
    source = SlotValues(chance, read_words(), held_out=False, pieces=word_pieces(tokenizer))
    batches = mixed_batches(
        prompt_batches(skills, source, tokenizer), conversation_batches(source, tokenizer), chance
    )
    model = (
        new_model(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
        if start is None
        else _read_model(start, len(tokenizer))
    )
    started = time.monotonic()
    tokens = _train(model, batches, steps)
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
        "conversations": share_right(out, read_acting_skill(), conversations=128),
    }
    print(json.dumps(report, indent=1))


def _read_model(folder: Path, vocabulary: int) -> Any:
    """A saved model, with rows for the tokens that its vocabulary lacks."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    model.resize_token_embeddings(vocabulary)
    return model


def _train(model: Any, batches: Iterator[list[Sequence]], steps: int) -> int:
    """Cross entropy on what the agent says; AdamW, flat, then linear to 2 %. Returns the tokens seen."""
    import torch

    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    tokens, losses, started = 0, 0.0, time.monotonic()
    for step in range(steps):
        batch = next(batches)
        tokens += sum(len(sequence) for sequence, _ in batch)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _rate(step, steps)
        loss = _loss(model, batch)
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


def _loss(model: Any, batch: list[Sequence]) -> Any:
    """Mean cross entropy over the targets; padded on the right, where a causal model never looks."""
    import torch

    longest = max(len(tokens) for tokens, _ in batch) - 1
    input_BT = torch.zeros(len(batch), longest, dtype=torch.long)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, (tokens, spoken) in enumerate(batch):
        input_BT[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
        rows += [row] * len(spoken)
        columns += [place - 1 for place in spoken]
        targets += [tokens[place] for place in spoken]
    hidden_BTH = model.model(input_ids=input_BT, use_cache=False).last_hidden_state
    logits_NV = model.lm_head(hidden_BTH[rows, columns])
    return torch.nn.functional.cross_entropy(logits_NV, torch.tensor(targets))


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 40)
    done = step / steps
    return warm * (0.02 + 0.98 * min(1.0, (1.0 - done) / 0.5))


if __name__ == "__main__":
    main()
