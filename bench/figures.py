"""Writes the table of figures in README.md from the last full runs in `bench/results/`.

Run `python -m bench.figures` after a full run of a benchmark.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- figures: python -m bench.figures -->\n", "<!-- end of figures -->\n"

Row = tuple[str, str, str]
"""What was measured, clorad's figure, the figure to compare it with."""


def table() -> str:
    """The figures in Markdown, one in each row."""
    rows = [
        ("measured", "clorad", "baseline"),
        ("---", "---", "---"),
        *_learning(_result("learning")),
        *_engine(_result("engine")),
        *_sharing(_result("agents")),
        *_durability(_result("durability")),
        *_intake(_result("intake")),
        *_gateway(_result("gateway")),
        *_canary(_result("canary")),
        *(_experiments(_result("experiments")) if _is_there("experiments") else ()),
    ]
    return "".join(f"| {what} | {figure} | {baseline} |\n" for what, figure, baseline in rows)


def _canary(result: Mapping[str, Any]) -> Sequence[Row]:
    return (
        (
            f"canaries withdrawn that are corrected in 15% of conversations ({result['bad']:,} streams)",
            f"{result['bad_rolled_back_share']:.1%}",
            f"{result['good_withdrawn_share']:.1%} of those corrected in 5%, as the champion",
        ),
        (
            "conversations that such a canary had answered by then, median and 95th percentile",
            f"{result['conversations_p50']}, {result['conversations_p95']}",
            "–",
        ),
        (
            "longest time from such a verdict to the last answer of the withdrawn version",
            f"{result['rollback_s_max']:.1f} s",
            "–",
        ),
    )


def _learning(result: Mapping[str, Any]) -> Sequence[Row]:
    ours, plain, control = (result["methods"][name] for name in ("clorad", "plain", "shuffled"))
    where = f"three agents, house rules in two waves, {ours['courses']} runs"
    return (
        (
            f"held-out prompts that follow the rules at the end ({where})",
            f"{ours['accuracy']:.0%}",
            f"{plain['accuracy']:.0%}, plain fine-tuning",
        ),
        (
            "change of the first wave's rules by the second",
            f"{ours['backward'] * 100:+.0f} points",
            f"{plain['backward'] * 100:+.0f} points, plain fine-tuning",
        ),
        (
            "near misses answered by a rule that does not hold there",
            f"{ours['leaked']:.0%}",
            f"{plain['leaked']:.0%}, plain fine-tuning",
        ),
        (
            "candidates promoted whose corrections had the texts of other prompts",
            _promoted(control),
            f"{_promoted(ours)}, with the right texts",
        ),
    )


def _engine(result: Mapping[str, Any]) -> Sequence[Row]:
    ratio: Mapping[str, float] = result["ratios"]
    products = {
        shape: max(row["gemm_peak_fraction"] for row in result["rows"] if _is_plain(row, shape))
        for shape in ("256x6", "1024x12")
    }
    return (
        (
            "relative speed of one pass for 16 agents with a short correction each",
            f"{ratio['short_n16_vs_peft']:.1f}",
            "1, PEFT",
        ),
        (
            "the same, against one agent after the other",
            f"{ratio['short_n16_vs_serial']:.1f}",
            "1, our engine",
        ),
        (
            "relative cost of a token with 64 agents, a short correction each",
            f"{ratio['cost_per_token_n64_over_n1_short']:.2f}",
            "1, with one agent",
        ),
        (
            "relative cost of a token with 64 agents, 4 sequences of 128 tokens each",
            f"{ratio['cost_per_token_n64_over_n1_b4x128']:.2f}",
            "1, with one agent",
        ),
        (
            "relative speed on pairs of replies to one prompt",
            f"{ratio['pairs_sharing_gain']:.1f}",
            "1, the prompt computed twice",
        ),
        ("use of the processor, base of width 256", f"{products['256x6']:.0%}", _FASTEST),
        ("use of the processor, base of width 1,024", f"{products['1024x12']:.0%}", _FASTEST),
    )


def _sharing(result: Mapping[str, Any]) -> Sequence[Row]:
    agents = f"{result['agents']:,} agents on {result['slots']} slots, one of them with half of all feedback"
    return (
        (
            f"evenness of training time (Jain's index), {agents}",
            f"{result['jain_fair_share']:.2f}",
            "1, fair shares",
        ),
        (
            "longest wait of an event there",
            f"{result['oldest_wait_s_max']:.0f} s",
            f"{result['age_max_s']:.0f} s, when its agent is due in any case",
        ),
    )


def _durability(result: Mapping[str, Any]) -> Sequence[Row]:
    kills = (
        f"{result['produced']:,} records, {result['kills']} kills of clorad,"
        f" {result['broker_kills']} of the broker, {result['zombies']} frozen processes"
    )
    return (
        (f"events lost ({kills})", f"{result['lost']}", "–"),
        ("events that count twice there", f"{result['twice']}", "–"),
    )


def _intake(result: Mapping[str, Any]) -> Sequence[Row]:
    return (
        (
            "events a second into SQLite (synchronous FULL), redacted",
            f"{result['sqlite_redacted_events_per_s']:,.0f}",
            f"{result['bare_consumer_events_per_s']:,.0f}, a consumer that discards them",
        ),
        (
            "time from sending to stored, 99th percentile at 1,000 a second",
            f"{result['latency_ms_p99']:.0f} ms",
            f"{result['acknowledged_ms_p99']:.0f} ms, to Kafka's acknowledgement",
        ),
        (
            f"memory that intake adds over a backlog of {result['backlog']:,} events",
            f"{result['rss_growth_mib']:.0f} MiB",
            "–",
        ),
        ("`clorad audit` of the ledger with that backlog", f"{result['audit_s']:.1f} s", "–"),
    )


def _gateway(result: Mapping[str, Any]) -> Sequence[Row]:
    direct, proxy = result["ways"]["direct"], result["ways"]["proxy"]
    return (
        (
            "time that the gateway adds to an answer it captures, median",
            f"{result['added_ms_p50']:.1f} ms",
            f"{proxy['ms_p50'] - direct['ms_p50']:.1f} ms, a proxy that only passes on",
        ),
        (
            "requests a second through it, with load generator and replica on the same two cores",
            f"{result['requests_per_s']:,.0f}",
            f"{proxy['requests_per_s']:,.0f}, the same proxy",
        ),
        (
            "captures stored at that rate; the others are dropped, not delayed",
            f"{result['kept_share']:.0%}",
            "–",
        ),
    )


def _experiments(result: Mapping[str, Any]) -> Sequence[Row]:
    """Only what a full run measured."""
    reported, rows = result["reported"], list[Row]()
    if result["final_ratio_n8"] is not None:
        rows += [
            (
                "how much sooner eight experiments end at once than one by one (tools of 4 s)",
                f"{result['final_ratio_n8']:.2f}",
                f"{reported['final_ratio_n8']:.2f}, a field report on one H200",
            ),
            (
                "how much later the first of them ends",
                f"{result['first_result_ratio_n8']:.2f}",
                f"{reported['first_result_ratio_n8']:.2f}, the same report",
            ),
            (
                "training of eight experiments in one pass, relative speed",
                f"{result['train_ratio_vs_peft']:.1f}",
                f"1, PEFT, padded; {reported['train_ratio_n8']:.1f}, the same report",
            ),
        ]
    if result["final_ratio_n8_vs_cold"] is not None:
        rows.append(
            (
                "how much sooner eight end at once than one by one, each on a vLLM and Kafka started for it",
                f"{result['final_ratio_n8_vs_cold']:.1f}",
                "–",
            )
        )
    if result["reward_n8"]:
        before, after = (fmean(rewards) for rewards in zip(*result["reward_n8"], strict=True))
        alone = fmean(last for _, last in result["reward_n1"]) if result["reward_n1"] else None
        rows.append(
            (
                "mean reward of eight experiments at once, first and tenth step, 128 rollouts a step",
                f"{before:.0%}, {after:.0%}",
                "–" if alone is None else f"{alone:.0%} at the tenth step, one by one",
            )
        )
    return [*rows, *_retail(result)]


def _retail(result: Mapping[str, Any]) -> Sequence[Row]:
    """Two experiments on the support of a shop; nothing where they were not measured."""
    if result.get("retail_final_ratio_n2") is None:
        return ()
    (before, after), reported = result["retail_reward_n2"], result["reported"]
    return (
        (
            "how much sooner two experiments on the support of a shop end at once than one by one",
            f"{result['retail_final_ratio_n2']:.2f}",
            f"{reported['retail_final_ratio_n2']:.2f}, the same report",
        ),
        ("mean reward of these two at once, first and last step", f"{before:.0%}, {after:.0%}", "–"),
    )


_FASTEST = "100%, the machine's fastest matrix product"


def _promoted(method: Mapping[str, Any]) -> str:
    verdicts: Mapping[str, int] = method["verdicts"]
    return f"{verdicts.get('promote', 0)} of {sum(verdicts.values())}"


def _result(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())
    return result


def _is_there(name: str) -> bool:
    return (ROOT / "bench" / "results" / f"{name}.json").is_file()


def _is_plain(row: Mapping[str, Any], shape: str) -> bool:
    return (row["regime"], row["shape"], row["dtype"]) == ("b4x128", shape, "float32")


def main() -> None:
    """Write the table into README.md."""
    path = ROOT / "README.md"
    before, rest = path.read_text().split(BEGIN)
    _, after = rest.split(END)
    path.write_text(before + BEGIN + table() + END + after)


if __name__ == "__main__":
    main()
