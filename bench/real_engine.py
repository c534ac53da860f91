"""Times updates on a pretrained base against PEFT: `python -m bench.engine --base smollm2`.

`make real-base` first. The repetitions of all variants of a row are interleaved and bounded in time. CPU
seconds stand beside wall-clock time, which other work on the machine changes. Memory is what an update needs
above the resident memory before it.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from bench.commit import commit
from bench.machine import forget_peak_memory, gemm_peak, peak_memory_mib, resident_memory_mib
from bench.real_batches import SEQUENCES, real_sequences
from bench.step_parts import measure_parts
from bench.updates import SMOLLM2, PeftUpdate, WarmEngineUpdate
from engine.memory import keep_freed_memory, release_memory
from engine.packer import pack

QUICK_S, FULL_S = 45.0, 560.0
REPETITIONS_MAX = 9
PARTS_SHARE = 0.15  # of the time
BF16_GAIN_MIN = 1.2  # products must be so much faster in bf16 for it to be measured
CPU = torch.device("cpu")

Update = Callable[[], None]

OURS_ALONE = ("auto", "unshared")
OURS_TOGETHER = ("auto", "unshared", "serial")
PEFT = ("peft_padded", "peft_one_by_one")

BARS = {
    "episodes_n1_unshared_vs_peft": 2.2,
    "episodes_n8_unshared_vs_peft": 2.5,
    "system300_n8_vs_peft": 5.0,
}
"""The least that each ratio must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A regime, the number of agents, and the variants that are measured with them."""

    regime: str
    agents: int
    dtype: str = "float32"
    variants: tuple[str, ...]
    share: float  # of the time for all rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRow:
    """One variant of one setup. `peft` repeats the better of PEFT's variants."""

    regime: str
    n: int
    dtype: str
    variant: str
    tokens: int  # of prompts and completions, without padding
    computed_tokens: int | None  # rows that our base computes; None: PEFT
    ms_min: float
    ms_median: float
    cpu_s_min: float
    tokens_per_s: float
    memory_mib: float  # above the resident memory before the update
    repetitions: int


# whole conversations in one padded batch: PEFT would need 6 GiB for their logits
FULL: tuple[Setup, ...] = (
    Setup(regime="episodes", agents=1, variants=OURS_ALONE + PEFT, share=0.1),
    Setup(regime="system300", agents=1, variants=OURS_ALONE + PEFT, share=0.15),
    Setup(regime="conversations", agents=1, variants=(*OURS_ALONE, "peft_one_by_one"), share=0.15),
    Setup(regime="episodes", agents=8, variants=OURS_TOGETHER + PEFT, share=0.2),
    Setup(regime="system300", agents=8, variants=("auto", "serial", "peft_padded"), share=0.3),
    Setup(regime="episodes", agents=1, dtype="bfloat16", variants=OURS_ALONE + PEFT, share=0.1),
)
QUICK: tuple[Setup, ...] = (
    Setup(regime="episodes", agents=1, variants=OURS_ALONE + PEFT, share=0.4),
    Setup(regime="conversations", agents=1, variants=("auto", "peft_one_by_one"), share=0.6),
)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The report: rows, ratios to PEFT by wall-clock and by CPU time, and the parts of a turn."""
    seconds = arguments.seconds or (QUICK_S if arguments.quick else FULL_S)
    plan = QUICK if arguments.quick else FULL
    rows: list[RealRow] = []
    planned = {_name(setup) for setup in plan}
    left_out = [f"{name}: only without --quick" for name in map(_name, FULL) if name not in planned]
    keep_freed_memory()  # PEFT gains by it too
    bf16_gain = gemm_peak(torch.bfloat16, CPU) / gemm_peak(torch.float32, CPU)
    began_s = time.monotonic()
    for setup in plan:
        if setup.dtype == "bfloat16" and bf16_gain < BF16_GAIN_MIN:
            left_out.append(
                f"{_name(setup)}: bf16 products have {bf16_gain:.2f} times the speed of fp32 here"
            )
        elif time.monotonic() - began_s > seconds * (1 - PARTS_SHARE):
            left_out.append(f"{_name(setup)}: the time was spent")
        else:
            rows += measure_setup(setup, seconds_max=seconds * (1 - PARTS_SHARE) * setup.share)
            if not arguments.json:
                _print(rows, setup)
    ratios = {**ratios_to_peft(rows, "ms_min", ""), **ratios_to_peft(rows, "cpu_s_min", "_by_cpu")}
    return {
        "base": SMOLLM2,
        "rows": [asdict(row) for row in rows],
        "ratios": ratios,
        "bars": {
            name: {"least": bar, "met": ratios[name] >= bar} for name, bar in BARS.items() if name in ratios
        },
        "parts": measure_parts(seconds_max=seconds * PARTS_SHARE),
        "left_out": left_out,
        "sequences_an_agent": SEQUENCES,
        "seconds": round(time.monotonic() - began_s),
        "commit": commit(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": str(torch.__version__),
    }


def measure_setup(setup: Setup, *, seconds_max: float) -> list[RealRow]:
    """All variants of one setup, each at least once after a warm-up with one agent's short sequences."""
    dtype = getattr(torch, setup.dtype)
    batches = [real_sequences(setup.regime, agent) for agent in range(setup.agents)]
    ours = WarmEngineUpdate(SMOLLM2, dtype, setup.agents, CPU)
    peft = PeftUpdate(SMOLLM2, dtype, setup.agents, CPU)
    work, warm_up = ours.work(batches), [real_sequences("episodes", 0)]
    forms = {"auto": ours.auto, "unshared": ours.unshared, "serial": ours.serial}
    forms = {name: form for name, form in forms.items() if name in setup.variants}
    runs: dict[str, Update] = {
        name: lambda form=form: ours.update(work, form)  # type: ignore[misc]
        for name, form in forms.items()
    }
    if "peft_padded" in setup.variants:
        runs["peft_padded"] = lambda: peft.update(batches, padded=True)
    if "peft_one_by_one" in setup.variants:
        runs["peft_one_by_one"] = lambda: peft.update(batches, padded=False)
    ours.update(ours.work(warm_up), ours.auto)
    peft.update(warm_up, padded=True)
    taken = _interleaved(runs, seconds_max=seconds_max)
    best = min((name for name in taken if name.startswith("peft")), key=lambda name: min(taken[name].walls_s))
    taken["peft"] = taken[best]
    tokens = sum(len(prompt) + len(reply) for batch in batches for prompt, (reply,) in batch)
    computed = {name: sum(batch.tokens for batch in pack(work, form, CPU)) for name, form in forms.items()}
    return [
        RealRow(
            regime=setup.regime,
            n=setup.agents,
            dtype=setup.dtype,
            variant=variant,
            tokens=tokens,
            computed_tokens=computed.get(variant),
            ms_min=round(min(times.walls_s) * 1e3, 1),
            ms_median=round(statistics.median(times.walls_s) * 1e3, 1),
            cpu_s_min=round(min(times.cpus_s), 3),
            tokens_per_s=round(tokens / min(times.walls_s), 1),
            memory_mib=round(times.memory_mib, 1),
            repetitions=len(times.walls_s),
        )
        for variant, times in taken.items()
    ]


def ratios_to_peft(
    rows: Sequence[RealRow], figure: Literal["ms_min", "cpu_s_min"], ending: str
) -> dict[str, float]:
    """How many times more PEFT's better variant costs than each of ours, and what sharing alone saves."""
    cost = {(row.regime, row.n, row.dtype, row.variant): getattr(row, figure) for row in rows}
    ratios = {}
    for (regime, agents, dtype, variant), ours in cost.items():
        name = f"{regime}_n{agents}{'_bf16' if dtype == 'bfloat16' else ''}"
        if variant == "auto":
            ratios[f"{name}_vs_peft{ending}"] = cost[regime, agents, dtype, "peft"] / ours
            if (unshared := cost.get((regime, agents, dtype, "unshared"))) is not None:
                ratios[f"{name}_vs_unshared{ending}"] = unshared / ours
        elif variant == "unshared":
            ratios[f"{name}_unshared_vs_peft{ending}"] = cost[regime, agents, dtype, "peft"] / ours
    return {name: round(ratio, 3) for name, ratio in ratios.items()}


@dataclass(slots=True)
class _Taken:
    """What the repetitions of one variant took."""

    walls_s: list[float] = field(default_factory=list)
    cpus_s: list[float] = field(default_factory=list)
    memory_mib: float = 0.0


def _interleaved(runs: Mapping[str, Update], *, seconds_max: float) -> dict[str, _Taken]:
    """What each variant takes; the repetitions end where one more would pass the bound.

    Memory is measured in the first repetition, which begins without freed memory. Where there are more, its
    times do not count: getting memory back from the kernel takes time.
    """
    taken = {name: _Taken() for name in runs}
    began_s = time.monotonic()
    for done in range(1, REPETITIONS_MAX + 2):
        for name, run in runs.items():
            if done == 1:
                release_memory()
                forget_peak_memory(CPU)
            held_mib = resident_memory_mib()
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            run()
            if done == 2:
                taken[name].walls_s.clear()
                taken[name].cpus_s.clear()
            taken[name].walls_s.append(time.perf_counter() - wall_s)
            taken[name].cpus_s.append(time.process_time() - cpu_s)
            if done == 1:
                taken[name].memory_mib = peak_memory_mib() - held_mib
        if (time.monotonic() - began_s) * (done + 1) / done > seconds_max:
            break
    return taken


def _name(setup: Setup) -> str:
    return f"{setup.regime} n={setup.agents} {setup.dtype}"


def _print(rows: Sequence[RealRow], setup: Setup) -> None:
    for row in rows:
        if (row.regime, row.n, row.dtype) == (setup.regime, setup.agents, setup.dtype):
            figures = f"{row.ms_min:9.1f} ms {row.cpu_s_min:7.2f} CPU s {row.memory_mib:7.0f} MiB"
            print(f"{_name(setup):28} {row.variant:16} {figures}", flush=True)
