"""The figures the README quotes, from the last full runs in `bench/results/`. Run it to renew them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- figures: python -m bench.figures -->\n", "<!-- end of figures -->\n"


def table() -> str:
    """A table of what was measured, in Markdown."""
    engine, intake, durability, agents, gateway, learning = (
        _result(name) for name in ("engine", "intake", "durability", "agents", "gateway", "learning")
    )
    method, plain = (learning["methods"][name] for name in ("clorad", "plain"))
    ratio: Mapping[str, float] = engine["ratios"]
    products = {
        shape: max(row["gemm_peak_fraction"] for row in engine["rows"] if _is_plain(row, shape))
        for shape in ("256x6", "1024x12")
    }
    rows = (
        (
            "16 agents with a short correction each, in one pass",
            f"{ratio['short_n16_vs_peft']:.1f} times PEFT's speed,"
            f" {ratio['short_n16_vs_serial']:.1f} times our own one agent at a time",
        ),
        (
            "a token's cost with 64 agents, of its cost with one",
            f"{ratio['cost_per_token_n64_over_n1_short']:.2f} (short),"
            f" {ratio['cost_per_token_n64_over_n1_b4x128']:.2f} (4 sequences of 128)",
        ),
        ("correction pairs that share their prompt", f"{ratio['pairs_sharing_gain']:.1f} times the speed"),
        (
            "share of the machine's fastest product, 4 sequences of 128 an agent",
            f"{products['256x6']:.0%} (hidden 256, 6 layers), {products['1024x12']:.0%} (1024, 12)",
        ),
        (
            f"{durability['produced']:,} events, {durability['kills']} kills,"
            f" {durability['broker_kills']} more of the broker, {durability['zombies']} zombies",
            f"{durability['lost']} lost, {durability['twice']} twice",
        ),
        (
            "events a second into SQLite (synchronous FULL), redacted",
            f"{intake['sqlite_redacted_events_per_s']:,.0f}",
        ),
        ("produced to stored, 99th percentile at 1,000 a second", f"{intake['latency_ms_p99']:.0f} ms"),
        (
            f"after a backlog of {intake['backlog']:,} events: memory; `clorad audit`",
            f"{intake['rss_growth_mib']:+.0f} MiB; {intake['audit_s']:.1f} s",
        ),
        (
            f"{agents['agents']:,} agents on {agents['slots']} slots, one with half of all feedback",
            f"fairness (Jain) {agents['jain_fair_share']:.2f},"
            f" oldest wait {agents['oldest_wait_s_max']:.0f} s,"
            f" {'every' if agents['state_bit_exact'] else 'not every'} state bit-exact",
        ),
        (
            f"three agents' house rules in two waves, {method['courses']} courses: followed at the end,"
            " change of the earlier by the later, fired on near misses",
            f"{_taught(method)}; plain fine-tuning {_taught(plain)}",
        ),
        (
            "the same with every correction's text from another prompt",
            f"{learning['control_promoted']} promoted",
        ),
        (
            "the gateway, keeping every interaction on Kafka: added to an answer; requests a second",
            f"{gateway['added_ms_p50']:.1f} ms (99%: {gateway['added_ms_p99']:.0f} ms);"
            f" {gateway['requests_per_s']:.0f} on two cores with load and replica,"
            f" {gateway['kept_share']:.0%} kept",
        ),
    )
    return "".join(f"| {what} | {figure} |\n" for what, figure in (("measured", ""), ("---", "---"), *rows))


def _taught(found: Mapping[str, float]) -> str:
    return f"{found['accuracy']:.0%}, {found['backward'] * 100:+.0f} points, {found['leaked']:.0%}"


def _result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())
    return found


def _is_plain(row: Mapping[str, Any], shape: str) -> bool:
    return (row["regime"], row["shape"], row["dtype"]) == ("b4x128", shape, "float32")


def main() -> None:
    """The README quotes the last full runs."""
    path = ROOT / "README.md"
    before, rest = path.read_text().split(BEGIN)
    _, after = rest.split(END)
    path.write_text(before + BEGIN + table() + END + after)


if __name__ == "__main__":
    main()
