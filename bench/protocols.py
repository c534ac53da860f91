"""Repeats two published protocols of continual learning on SmolLM2, with rows of our own.

*Tasks* (Soup, issue 314): a task is learned, then another one, with and without replay of the first.
*Facts* (Adaptible): five facts are corrected in one wording each and asked for in four; every later round
teaches another fact. The rows differ from the published ones, so signs and relative changes are compared, not
numbers. Finished parts are appended to a file, and a part that is in the file is not repeated.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before torch

from bench.commit import commit
from bench.finished_runs import append_run, read_runs
from bench.prose_model import ProseModel
from bench.protocol_rows import FACTS, LATER_FACTS, Fact, TaughtRow, rows_of
from engine.lesson import Learned, Lesson
from engine.recipe import recipe_from
from engine.warm_engine import WarmEngine
from examples.real_base.make import REAL_BASE, ROOT
from rewards.episode import Part

RUNS = ROOT / ".cache" / "protocol_runs.jsonl"
VERSIONS = ROOT / ".cache" / "protocol_versions"
ROWS, ROUNDS = 60, 16
RIGHT_MIN = 16  # of the 20 questions: what Adaptible reached in four of five runs
_HELD_OUT = 20  # rows of each task that nobody teaches
_REPLAY_MAX = 64
_ANSWER_TOKENS_MAX = 32
_SEED = 1

PUBLISHED = {"a": 0.5408, "a_after_b_without_replay": 0.5650, "a_after_b_with_replay": 0.5263}
"""Losses on the first task, in nats a token (Soup, issue 314)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolRunner:
    """Trains and asks one base; parts that the file has are read from it."""

    engine: Callable[[], WarmEngine]  # loaded only if something is missing
    model: Callable[[], ProseModel]
    recipe: Mapping[str, Any]
    file: Path

    def part(self, about: Mapping[str, Any], run: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What this part came to: from the file, else by running it now."""
        key = {**about, "recipe": dict(self.recipe)}
        finished = next((old for old in reversed(read_runs(self.file)) if key.items() <= old.items()), None)
        if finished is None:
            began_s = time.monotonic()
            result = run()
            seconds = round(time.monotonic() - began_s)
            finished = {**key, **result, "seconds": seconds, "commit": commit()}
            append_run(self.file, finished)
            print(json.dumps(finished), flush=True)
        return finished

    def teach(
        self, name: str, new: Sequence[TaughtRow], replay: Sequence[TaughtRow], parent: Path | None
    ) -> str:
        """Train a version and answer with it. Returns its directory."""
        episodes = [row.episode(Part.NEW) for row in new]
        episodes += [row.episode(Part.REPLAY) for row in replay[-_REPLAY_MAX:]]
        (learned,) = self.engine().learn(
            [
                Lesson(
                    agent=name,
                    parent=parent,
                    recipe=recipe_from(self.recipe),
                    seed=_SEED,
                    episodes=tuple(episodes),
                )
            ]
        )
        if not isinstance(learned, Learned):
            assert parent is not None, learned.reason
            return str(parent)  # the version already answers so
        version = VERSIONS / f"{name}-{time.time_ns()}"
        self.engine().save(learned, version)
        return str(version)


def run_tasks(runner: ProtocolRunner, count: int) -> dict[str, Any]:
    """Losses on the first task before and after the second one."""
    tasks = {"a": rows_of("products", count + _HELD_OUT), "b": rows_of("cities", count + _HELD_OUT)}
    taught = {name: rows[:count] for name, rows in tasks.items()}

    def learn(name: str, replay: Sequence[TaughtRow], parent: Path | None) -> dict[str, Any]:
        version = runner.teach(f"task-{name}", taught[name], replay, parent)
        model = runner.model()
        model.use(Path(version))
        return {
            "version": version,
            "losses": {
                **{task: _loss(model, rows[:count]) for task, rows in tasks.items()},
                **{f"{task}_held_out": _loss(model, rows[count:]) for task, rows in tasks.items()},
            },
        }

    def part(arm: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return runner.part({"protocol": "tasks", "arm": arm, "rows": count}, run)

    first = part("a", lambda: learn("a", (), None))
    parent = Path(first["version"])
    without_replay = part("b without replay", lambda: learn("b", (), parent))
    with_replay = part("b with replay", lambda: learn("b", taught["a"], parent))
    return tasks_report(first["losses"], without_replay["losses"], with_replay["losses"])


def run_facts(runner: ProtocolRunner, rounds: int, *, replay: bool) -> dict[str, Any]:
    """Questions about the five facts answered right, after each round."""
    later = [
        TaughtRow(name=question, question=question, answer=answer) for question, answer in LATER_FACTS.items()
    ]
    taught: list[TaughtRow] = []
    parent: Path | None = None
    right: list[int] = []
    for number in range(1, rounds + 1):
        new = [fact.row for fact in FACTS] if number == 1 else [later[(number - 2) % len(later)]]
        replayed = tuple(taught) if replay else ()
        part = runner.part(
            {"protocol": "facts", "replay": replay, "round": number},
            partial(_round, runner, f"facts-{number}", new, replayed, parent),
        )
        parent = Path(part["version"])
        taught += new
        right.append(part["right"])
    return facts_report(right)


def tasks_report(
    first: Mapping[str, float], without: Mapping[str, float], with_replay: Mapping[str, float]
) -> dict[str, Any]:
    """Losses on task A, their relative changes, and whether the signs are the published ones."""
    changes = {
        "without_replay": _change(first["a"], without["a"]),
        "with_replay": _change(first["a"], with_replay["a"]),
        "replay_against_none": _change(without["a"], with_replay["a"]),
        "b_for_replay": _change(without["b"], with_replay["b"]),
    }
    return {
        "losses": {"a": first, "b_without_replay": without, "b_with_replay": with_replay},
        "relative_change": changes,
        "published": PUBLISHED,
        "published_relative_change": {
            "without_replay": _change(PUBLISHED["a"], PUBLISHED["a_after_b_without_replay"]),
            "with_replay": _change(PUBLISHED["a"], PUBLISHED["a_after_b_with_replay"]),
        },
        "forgets_without_replay": changes["without_replay"] > 0,
        "replay_keeps_more": changes["replay_against_none"] < 0,
    }


def facts_report(right: Sequence[int]) -> dict[str, Any]:
    """How many of the 20 questions were answered right, and how many fewer at the end than at best."""
    reached = [number for number, count in enumerate(right, 1) if count >= RIGHT_MIN]
    return {
        "right_by_round": list(right),
        "asked": sum(len(fact.questions) for fact in FACTS),
        "first_round_with_16": min(reached, default=None),
        "right_at_end": right[-1],
        "lost_since_first_round": right[0] - right[-1],
        "lost_since_best_round": max(right) - right[-1],
    }


def is_right(answer: str, fact: Fact) -> bool:
    """Whether the answer says the fact."""
    return fact.key.lower() in answer.lower()


def main() -> None:
    """`python -m bench.protocols --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="no effect: it always prints JSON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows a task")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of facts")
    parser.add_argument("--only", choices=("tasks", "facts"), help="one protocol")
    parser.add_argument("--facts-without-replay", action="store_true", help="the facts without replay too")
    parser.add_argument("--recipe", default="{}", help="JSON; the defaults unless given")
    parser.add_argument("--runs", type=Path, default=RUNS, help="file of finished parts")
    arguments = parser.parse_args()
    runner = ProtocolRunner(
        engine=cache(
            lambda: WarmEngine.load(REAL_BASE, slots=1, rank=16, threads=arguments.threads, token_budget=1024)
        ),
        model=cache(lambda: ProseModel(REAL_BASE, cache=ROOT / ".cache" / "real_base_replies.json")),
        recipe=json.loads(arguments.recipe),
        file=arguments.runs,
    )
    report: dict[str, Any] = {}
    if arguments.only != "facts":
        report["tasks"] = run_tasks(runner, arguments.rows)
    if arguments.only != "tasks":
        report["facts"] = run_facts(runner, arguments.rounds, replay=True)
        if arguments.facts_without_replay:
            report["facts_without_replay"] = run_facts(runner, arguments.rounds, replay=False)
    print(json.dumps({**report, "commit": commit()}))


def _round(
    runner: ProtocolRunner,
    name: str,
    new: Sequence[TaughtRow],
    replay: Sequence[TaughtRow],
    parent: Path | None,
) -> dict[str, Any]:
    """Teach one round's corrections and ask all questions about the five facts."""
    version = runner.teach(name, new, replay, parent)
    model = runner.model()
    model.use(Path(version))
    asked = [
        (fact, TaughtRow(name=question, question=question, answer=fact.answer))
        for fact in FACTS
        for question in fact.questions
    ]
    replies = model.replies([row.messages for _, row in asked], tokens_max=_ANSWER_TOKENS_MAX)
    right = [is_right(reply.text, fact) for (fact, _), reply in zip(asked, replies, strict=True)]
    own_words = sum(islice(right, 0, None, len(FACTS[0].questions)))
    return {"version": version, "right": sum(right), "right_in_taught_words": own_words}


def _loss(model: ProseModel, rows: Sequence[TaughtRow]) -> float:
    """Cross entropy on the rows' answers, in nats a token, mean over rows."""
    readings = model.read([row.messages for row in rows], [row.answer for row in rows])
    return round(statistics.fmean(reading.loss_nats for reading in readings), 4)


def _change(before: float, after: float) -> float:
    """The relative change."""
    return round((after - before) / before, 4)


if __name__ == "__main__":
    main()
