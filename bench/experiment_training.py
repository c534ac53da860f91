"""Times the training alone of a step of experiments: our packed pass against PEFT, one adapter at a time."""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from bench.updates import VOCABULARY, PeftUpdate, Sequences, WarmEngineUpdate

SHAPE, PROMPT_TOKENS, REPLY_TOKENS, REPETITIONS = "256x6", 36, 9, 5


def training_ratio(*, agents: int, groups: int, samples: int) -> dict[str, Any]:
    """Milliseconds of one update of all agents by each engine (median), and how many times faster ours is.

    The tokens are those of word problems: a short prompt with some samples of its answer.
    """
    torch.set_num_threads(1)
    device = torch.device("cpu")
    batches = [_batch(agent, groups, samples) for agent in range(agents)]
    ours = WarmEngineUpdate(SHAPE, torch.float32, agents, device)
    peft = PeftUpdate(SHAPE, torch.float32, agents, device)
    work = ours.work(batches)
    ms = _interleaved(
        {"ours": lambda: ours.update(work, ours.auto), "peft": lambda: peft.update(batches, padded=True)}
    )
    return {"agents": agents, "batch": groups * samples, **ms, "ratio": round(ms["peft"] / ms["ours"], 2)}


def _batch(agent: int, groups: int, samples: int) -> Sequences:
    chance = random.Random(f"experiment {agent}")

    def ids(count: int) -> tuple[int, ...]:
        return tuple(chance.randrange(VOCABULARY) for _ in range(count))

    return [
        (
            ids(chance.randint(PROMPT_TOKENS - 8, PROMPT_TOKENS + 8)),
            tuple(ids(chance.randint(REPLY_TOKENS - 4, REPLY_TOKENS + 4)) for _ in range(samples)),
        )
        for _ in range(groups)
    ]


def _interleaved(runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(REPETITIONS + 1):
        for name, update in runs.items():
            began_s = time.monotonic()
            update()
            if repetition:  # the first one warms up
                times[name].append(1000.0 * (time.monotonic() - began_s))
    return {name: round(statistics.median(values), 1) for name, values in times.items()}
