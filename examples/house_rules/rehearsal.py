"""Runs a world in one process, without Kafka, vLLM and clorad's roles: can this base learn these rules?

`python -m examples.house_rules.rehearsal --world FILE`. The next wave builds on every candidate, also on one
that the gate would refuse.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.measurements import Absent, TrainingMetrics
from engine.warm_engine import WarmEngine
from examples.house_rules.evaluation import Evaluation, EvaluationResult, build_evaluation, evaluate
from examples.house_rules.local_agent import LocalAgent
from examples.house_rules.simulated_feedback import Method, RehearsedTurn, SimulatedFeedback
from examples.house_rules.world import Task, World
from examples.house_rules.world_file import read_world
from ledger.events import WAITS_FOR_ANOTHER

BASE = Path(__file__).resolve().parents[1] / "base_model" / "weights"


def rehearse(
    world: World,
    agent: str,
    engine: WarmEngine,
    base: Path,
    *,
    seed: int,
    misses: int = 0,
    method: Method | None = None,
) -> list[EvaluationResult]:
    """Teach one agent all its waves. Prints and returns the results before the first and after each.

    `misses` is how many wrong answers are printed as well.
    """
    with tempfile.TemporaryDirectory() as folder:
        local_agent = LocalAgent(engine, base, Path(folder))
        feedback = SimulatedFeedback(world, agent, local_agent, seed=seed, method=method)
        results = []
        for wave in range(world.waves(agent) + 1):
            turn = feedback.teach(wave) if wave else None
            evaluation = build_evaluation(world, agent, n=100, wave=max(1, wave))
            results.append(evaluate([evaluation], local_agent.answers)[agent])
            for task, answer in _misses(evaluation, local_agent)[:misses]:
                print(f"  {task.prompt!r}: {answer!r}, wanted {task.wanted!r}")
            line = f"{agent} seed {seed} wave {wave}: {_result_text(results[-1])}"
            print(line + (_turn_text(turn, local_agent) if wave else ""), flush=True)
        return results


def _misses(evaluation: Evaluation, local_agent: LocalAgent) -> list[tuple[Task, str | None]]:
    tasks: Sequence[Task] = (*evaluation.fires, *evaluation.near, *evaluation.free)
    return [
        (task, answer)
        for task, answer in zip(tasks, local_agent.answers(tasks), strict=True)
        if answer != task.wanted
    ]


def _result_text(result: EvaluationResult) -> str:
    return f"follows {result.followed:.3f}, fires on near misses {result.leaked:.3f}, keeps {result.kept:.3f}"


def _turn_text(turn: RehearsedTurn | None, local_agent: LocalAgent) -> str:
    if turn is None:
        return f", not trained: {WAITS_FOR_ANOTHER}"
    gate = f"{turn.ruling.verdict.value} {'; '.join(turn.ruling.reasons)}"
    return f", gate: {gate}, {local_agent.training_s:.0f} s, {metrics_text(turn.learned.metrics)}"


def metrics_text(metrics: TrainingMetrics) -> str:
    """One lesson's metrics in words, with their units."""
    learned, kept = (
        "none" if share is None else f"{share:.0%}" for share in (metrics.learned_share, metrics.kept_share)
    )
    kl = (
        f"not measured ({metrics.kl_nats.reason})"
        if isinstance(metrics.kl_nats, Absent)
        else f"{metrics.kl_nats:.3f} nats"
    )
    return f"{metrics.steps} steps, corrections learned {learned}, anchors kept {kept}, KL on anchors {kl}"


def main() -> None:
    """Rehearse every agent of a world with every seed."""
    parser = argparse.ArgumentParser(prog="python -m examples.house_rules.rehearsal", description=__doc__)
    parser.add_argument("--world", type=Path, default=Path(__file__).with_name("worlds") / "shop.toml")
    parser.add_argument("--base", type=Path, default=BASE)
    parser.add_argument("--agents", default="", help="names with commas between; all unless given")
    parser.add_argument("--authors", type=int, default=2, help="people who correct an agent, in turn")
    parser.add_argument("--seeds", default="1", help="numbers with commas between")
    parser.add_argument("--misses", type=int, default=0, help="wrong answers to print after each wave")
    arguments = parser.parse_args()
    world = read_world(arguments.world)
    engine = WarmEngine.load(arguments.base, slots=1, rank=16, threads=1, token_budget=2048)
    for seed in map(int, arguments.seeds.split(",")):
        for agent in arguments.agents.split(",") if arguments.agents else world.agents:
            rehearse(
                world,
                agent,
                engine,
                arguments.base,
                seed=seed,
                misses=arguments.misses,
                method=Method(authors=arguments.authors),
            )


if __name__ == "__main__":
    main()
