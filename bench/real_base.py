"""Measures what a pretrained base learns in natural language: rules followed, near misses, other talk kept.

`make real-base` first. Corrections go through clorad's own labelling, choice of batch and engine; the exam
asks held-out phrasings with held-out slot values. Each finished run is appended to a file, and a run that is
in the file is not repeated.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before torch

from bench.commit import commit
from bench.finished_runs import append_run, read_runs
from bench.prose_feedback import REPLY_TOKENS_MAX, FeedbackPlan, ProseFeedback, counted
from bench.prose_model import ProseModel
from engine.lesson import Learned
from engine.recipe import recipe_from
from engine.warm_engine import WarmEngine
from examples.real_base.make import REAL_BASE, ROOT
from examples.real_base.prose_world import ProsePrompt, ProseWorld, read_prose_world

RUNS = ROOT / ".cache" / "real_base_runs.jsonl"
MARK_TOKENS = 8  # enough to tell how a reply begins
QUESTIONS = 12  # of each kind, and of each rule


def exam(world: ProseWorld, model: ProseModel, agent: str, wave: int) -> dict[str, Any]:
    """Shares on held-out prompts: rules followed by wave, near misses and chat."""
    followed = {}
    for number in range(1, wave + 1):
        prompts = [
            prompt
            for rule in world.of_wave(agent, number)
            for prompt in world.about(rule, QUESTIONS, seed="exam", held_out=True)
        ]
        readings = model.read(_messages(prompts), [str(prompt.wanted) for prompt in prompts])
        followed[str(number)] = _share([reading.first_choice for reading in readings])
    near = world.beside(agent, "near", QUESTIONS, seed="exam", held_out=True)
    chat = world.beside(agent, "chat", QUESTIONS, seed="exam", held_out=True)
    return {
        "followed": followed,
        "near_leaked": _marked(world, model, agent, near),
        "chat_marked": _marked(world, model, agent, chat),
        **_kept("near", model, near),
        **_kept("chat", model, chat),
    }


def course(
    engine: WarmEngine, world: ProseWorld, given: Mapping[str, Any], *, base: Path, folder: Path
) -> dict[str, Any]:
    """One agent taught so many waves; what each came to."""
    model = ProseModel(base, cache=ROOT / ".cache" / "real_base_replies.json")
    plan = FeedbackPlan(
        corrections=given["corrections"], approvals=given["approvals"], shuffled=given["shuffled"]
    )
    agent = given["agent"]
    feedback = ProseFeedback(world=world, agent=agent, model=model, plan=plan, seed=given["seed"])
    parent, waves = None, []
    for wave in range(1, given["waves"] + 1):
        lesson = feedback.lesson(wave, parent=parent, recipe=recipe_from(given["recipe"]))
        print(f"{agent} wave {wave}: {counted(lesson)}", flush=True)
        started_s = time.monotonic()
        (learned,) = engine.learn([lesson])
        trained_s = time.monotonic() - started_s
        if not isinstance(learned, Learned):
            waves.append({"not_learned": learned.reason, "trained_s": round(trained_s)})
            break
        parent = folder / f"{agent}-{lesson.seed}-{time.time_ns()}"
        engine.save(learned, parent)
        model.use(parent)
        marks = exam(world, model, agent, wave)
        waves.append(
            {
                **marks,
                "episodes": counted(lesson),
                "metrics": learned.metrics.to_json(),
                "trained_s": round(trained_s),
            }
        )
        print(json.dumps(waves[-1]), flush=True)
    return {**given, "waves_done": waves, "commit": commit()}


def main() -> None:
    """`python -m bench.real_base [--agents support,coder] [--recipe '{"steps":60}'] --json`."""
    given = _arguments()
    world, runs = read_prose_world(), read_runs(given.runs)
    engine = WarmEngine.load(REAL_BASE, slots=given.slots, rank=16, threads=given.threads, token_budget=1024)
    results = []
    folder = ROOT / ".cache" / "real_base_versions"
    for seed in range(1, given.seeds + 1):
        for agent in given.agents.split(","):
            asked = {
                "agent": agent,
                "seed": seed,
                "waves": min(given.waves, world.waves(agent)),
                "corrections": given.corrections,
                "approvals": given.approvals,
                "shuffled": given.shuffled,
                "recipe": json.loads(given.recipe),
                "name": given.name,
            }
            run = next((run for run in runs if asked.items() <= run.items()), None)
            if run is None:
                run = course(engine, world, asked, base=REAL_BASE, folder=folder)
                append_run(given.runs, run)
            results.append(run)
    print(json.dumps(_summary(results)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.real_base", description=__doc__)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; it always prints JSON")
    parser.add_argument("--agents", default="support,coder,writer")
    parser.add_argument("--waves", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--corrections", type=int, default=8, help="of role train, a rule")
    parser.add_argument("--approvals", type=int, default=40, help="a wave; 0: nobody approves")
    parser.add_argument("--shuffled", action="store_true", help="corrections with texts of other prompts")
    parser.add_argument("--recipe", default="{}", help="JSON; the defaults unless given")
    parser.add_argument("--name", default="", help="tells runs of different code apart")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--runs", type=Path, default=RUNS, help="finished runs are read from and appended to it"
    )
    return parser.parse_args()


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = [run["waves_done"][-1] for run in runs if "followed" in run["waves_done"][-1]]
    if not last:
        return {"runs": len(runs), "learned": 0}
    shares = [statistics.fmean(wave["followed"].values()) for wave in last]
    return {
        "runs": len(runs),
        "learned": len(last),
        "followed": round(statistics.fmean(shares), 4),
        "near_leaked": round(statistics.fmean(wave["near_leaked"] for wave in last), 4),
        "chat_kl_nats": round(statistics.fmean(wave["chat_kl_nats"] for wave in last), 4),
        "trained_s": round(statistics.fmean(wave["trained_s"] for wave in last)),
        "commit": commit(),
    }


def _kept(kind: str, model: ProseModel, prompts: Sequence[ProsePrompt]) -> dict[str, float]:
    """How far the adapter moved from the base's own replies."""
    replies = model.base_replies(_messages(prompts), tokens_max=REPLY_TOKENS_MAX)
    known = [(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True) if reply]
    readings = model.read(_messages([prompt for prompt, _ in known]), [reply for _, reply in known])
    return {
        f"{kind}_same_share": round(statistics.fmean(reading.same_share for reading in readings), 4),
        f"{kind}_kl_nats": round(statistics.fmean(reading.kl_nats for reading in readings), 4),
    }


def _marked(world: ProseWorld, model: ProseModel, agent: str, prompts: Sequence[ProsePrompt]) -> float:
    """Share of the replies that begin as a rule's would."""
    beginnings = model.beginnings(_messages(prompts), tokens=MARK_TOKENS)
    marks = world.marks(agent)
    return _share([beginning.startswith(marks) for beginning in beginnings])


def _messages(prompts: Sequence[ProsePrompt]) -> list[tuple[Mapping[str, str], ...]]:
    return [prompt.messages for prompt in prompts]


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4)


if __name__ == "__main__":
    main()
