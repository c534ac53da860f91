"""Times one update of many agents: our engine, the same one agent at a time, and PEFT.

Every variant learns from the same tokens in one process, and their repetitions are interleaved. A row's time
is the forward pass, backward pass and optimizer step of all agents. `python -m bench.engine --json` prints
everything; `python -m bench.engine --device cuda --shape qwen3-4b` measures 16 long updates on a GPU, and
`python -m bench.engine --base smollm2` real episodes and conversations on a pretrained base.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before torch

import torch

from bench import real_engine
from bench.commit import commit
from bench.machine import forget_peak_memory, gemm_peak, peak_device_mib, peak_memory_mib
from bench.updates import LONG, SHAPES, SMOLLM2, PeftUpdate, WarmEngineUpdate, sequences
from engine.calibration import synchronize

QUICK_ROW_S, REPETITIONS, REPETITIONS_SLOW = 1.0, 9, 2
LONG_AGENTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant of one regime."""

    regime: str
    n: int
    variant: str
    dtype: str
    shape: str
    tokens: int
    ms_min: float
    ms_median: float
    tokens_per_s: float
    peak_rss_mib: float
    peak_device_mib: float  # GPU memory, with the weights of both variants in it
    gemm_peak_fraction: float


def measure(
    shape: str, dtype: torch.dtype, regime: str, agents: int, *, only_ours: bool, device: torch.device
) -> list[Row]:
    """All variants of one regime and number of agents. `main` still divides `gemm_peak_fraction`."""
    batches = [sequences(regime, agent) for agent in range(agents)]
    ours = WarmEngineUpdate(shape, dtype, agents, device)
    work = ours.work(batches)
    runs: dict[str, Callable[[], None]] = {
        "auto": lambda: ours.update(work, ours.auto),
        "serial": lambda: ours.update(work, ours.serial),
    }
    if regime == "pairs":
        runs["unshared"] = lambda: ours.update(work, ours.unshared)
    if not only_ours:
        peft = PeftUpdate(shape, dtype, agents, device)
        runs["peft_padded"] = lambda: peft.update(batches, padded=True)
        if regime not in LONG:  # one sequence for each agent has no padding
            runs["peft_one_by_one"] = lambda: peft.update(batches, padded=False)
    tokens = sum(
        len(prompt) + len(completion)
        for batch in batches
        for prompt, completions in batch
        for completion in completions
    )
    times, peaks = _interleaved(runs, device)
    if not only_ours:
        best = min((name for name in times if name.startswith("peft")), key=lambda name: min(times[name]))
        times["peft"], peaks["peft"] = times[best], peaks[best]
    return [
        Row(
            regime=regime,
            n=agents,
            variant=variant,
            dtype=str(dtype).removeprefix("torch."),
            shape=shape,
            tokens=tokens,
            ms_min=round(min(times[variant]) * 1e3, 2),
            ms_median=round(statistics.median(times[variant]) * 1e3, 2),
            tokens_per_s=round(tokens / min(times[variant]), 1),
            peak_rss_mib=round(peaks[variant][0], 1),
            peak_device_mib=round(peaks[variant][1], 1),
            gemm_peak_fraction=ours.flops(work) / min(times[variant]),
        )
        for variant in times
    ]


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """The figures that README.md quotes, as far as their rows were measured."""
    at = {
        (row.regime, row.n, row.variant): row
        for row in rows
        if row.dtype == "float32" and row.shape == "256x6"
    }

    def time_ratio(slow: tuple[str, int, str], fast: tuple[str, int, str]) -> float | None:
        return at[slow].ms_min / at[fast].ms_min if slow in at and fast in at else None

    def cost(regime: str) -> float | None:
        together, single = at.get((regime, 64, "auto")), at.get((regime, 1, "auto"))
        return (
            (together.ms_min / together.tokens) / (single.ms_min / single.tokens)
            if together and single
            else None
        )

    over_best = [
        row.ms_min / min(other.ms_min for key, other in at.items() if key[:2] == (regime, n))
        for (regime, n, variant), row in at.items()
        if variant == "auto"
    ]
    n8 = [row.tokens_per_s for row in rows if (row.regime, row.n, row.shape) == ("b4x128", 8, "256x6")]
    figures = {
        "short_n16_vs_peft": time_ratio(("short", 16, "peft"), ("short", 16, "auto")),
        "short_n16_vs_serial": time_ratio(("short", 16, "serial"), ("short", 16, "auto")),
        "serial_vs_peft_short_n16": time_ratio(("short", 16, "peft"), ("short", 16, "serial")),
        "n1_vs_peft_b4x128": time_ratio(("b4x128", 1, "peft"), ("b4x128", 1, "auto")),
        "b4x128_n8_tokens_per_s_best": max(n8, default=None),
        "pairs_sharing_gain": time_ratio(("pairs", 8, "unshared"), ("pairs", 8, "auto")),
        "cost_per_token_n64_over_n1_b4x128": cost("b4x128"),
        "cost_per_token_n64_over_n1_short": cost("short"),
        "auto_over_best_max": max(over_best, default=None),
    }
    return {name: round(value, 3) for name, value in figures.items() if value is not None}


def main() -> None:
    """Measure, and print the rows and the report; the last line is one JSON object."""
    arguments = _parser().parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("bench.engine: no CUDA device that torch could use here")
    torch.set_num_threads(arguments.threads)
    if arguments.base == SMOLLM2:
        print(json.dumps(real_engine.measure(arguments)))
        return
    device = torch.device(arguments.device)
    single_shape = arguments.shape or ("qwen3-4b" if arguments.device == "cuda" else None)
    if single_shape:
        plan = plan_long(single_shape, device, quick=arguments.quick)
    else:
        plan = _plan(quick=arguments.quick)
    rows: list[Row] = []
    peaks: dict[str, float] = {}  # the highest of the whole run: other work on the machine lowers it at times
    for shape, dtype, regime, agents, only_ours in plan:
        peaks[str(dtype)] = max(peaks.get(str(dtype), 0.0), gemm_peak(dtype, device))
        rows += measure(shape, dtype, regime, agents, only_ours=only_ours, device=device)
        if not arguments.json:
            for row in rows[-6:]:
                if (row.regime, row.n, row.shape) == (regime, agents, shape):
                    label = f"{row.shape} {row.dtype:8} {regime:7} n={agents:<3} {row.variant:16}"
                    print(f"{label} {row.ms_min:9.1f} ms", flush=True)
    rows = [
        replace(row, gemm_peak_fraction=round(row.gemm_peak_fraction / peaks[f"torch.{row.dtype}"], 3))
        for row in rows
    ]
    print(json.dumps(_report(rows, arguments.threads, device)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--base", choices=("random", SMOLLM2), default="random")
    parser.add_argument(
        "--quick", action="store_true", help="regime short at 1 and 16 agents; on a pretrained base one agent"
    )
    parser.add_argument("--seconds", type=float, help="of the whole run on a pretrained base, about")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shape", choices=sorted(SHAPES), help="only long updates of 16 agents on this base")
    return parser


Plan = Iterator[tuple[str, torch.dtype, str, int, bool]]
"""Shape, dtype, regime, agents, and whether PEFT is left out."""


def plan_long(shape: str, device: torch.device, *, quick: bool) -> Plan:
    """Long updates on one base: bf16 on a GPU, fp32 on a CPU."""
    for regime in list(LONG)[: 1 if quick else None]:
        yield shape, torch.bfloat16 if device.type == "cuda" else torch.float32, regime, LONG_AGENTS, False


def _plan(*, quick: bool) -> Plan:
    counts = (1, 16) if quick else (1, 2, 4, 8, 16)
    for regime in ("short",) if quick else ("short", "b4x128", "pairs"):
        for agents in counts:
            yield "256x6", torch.float32, regime, agents, False
    if not quick:
        yield "256x6", torch.float32, "short", 64, True
        yield "256x6", torch.float32, "b4x128", 64, True
        yield "256x6", torch.bfloat16, "short", 16, False
        yield "256x6", torch.bfloat16, "b4x128", 8, False
        yield "1024x12", torch.float32, "b4x128", 2, True


def _report(rows: Sequence[Row], threads: int, device: torch.device) -> Mapping[str, Any]:
    return {
        "rows": [asdict(row) for row in rows],
        "ratios": ratios(rows),
        "commit": commit(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": str(torch.__version__),
        "repetitions": REPETITIONS,
    }


def _interleaved(
    runs: Mapping[str, Callable[[], None]], device: torch.device
) -> tuple[dict[str, list[float]], dict[str, tuple[float, float]]]:
    """Seconds of each repetition, and the highest resident and device memory in MiB, by variant. The first
    repetition warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    peaks = dict.fromkeys(runs, (0.0, 0.0))
    slowest, done = 0.0, 0
    while done <= (REPETITIONS if slowest < QUICK_ROW_S else REPETITIONS_SLOW):
        for name, run in runs.items():
            forget_peak_memory(device)
            synchronize(device)
            start = time.perf_counter()
            run()
            synchronize(device)
            times[name].append(time.perf_counter() - start)
            resident, on_device = peaks[name]
            peaks[name] = max(resident, peak_memory_mib()), max(on_device, peak_device_mib(device))
        done += 1
        slowest = max(min(values) for values in times.values())
    return {name: values[1:] for name, values in times.items()}, peaks


if __name__ == "__main__":
    main()
