"""Measures whether conversations with tools end as people want, wave after wave of house rules.

The desk of the examples learns which tool to call, with which argument and when to hand over. Whole
conversations with held-out slot values are held with simulated tools: one is right if every call and the last
words are. Corrections, batches, training and the gate's ruling are clorad's own code, without Kafka and vLLM.
"""

import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.warm_engine import WarmEngine
from examples.base_model.conversations import ActingSkill, Conversation, Message
from examples.base_model.heldout_conversations import same_turns
from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.conversation_tasks import call_text, calls_in
from examples.house_rules.local_agent import LocalAgent
from examples.house_rules.simulated_feedback import Method, SimulatedFeedback
from examples.house_rules.world import Rule, World
from examples.house_rules.world_file import read_world

WORLD = Path(__file__).resolve().parents[1] / "examples" / "house_rules" / "worlds" / "shop.toml"
HELD = 40  # conversations of each kind, and of each rule


def run_desk(engine: WarmEngine, base: Path, *, seed: int, waves: int = 2) -> dict[str, Any]:
    """One agent taught so many waves; shares of held-out conversations before the first and after each."""
    world = read_world(WORLD)
    skill = world.acting
    assert skill is not None, "the desk has tools"
    with tempfile.TemporaryDirectory() as folder:
        agent = LocalAgent(engine, base, Path(folder))
        feedback = SimulatedFeedback(world, skill.agent, agent, seed=seed, method=Method())
        exams = [exam(world, skill, agent, waves)]
        verdicts = []
        for wave in range(1, waves + 1):
            turn = feedback.teach(wave)
            assert turn is not None, "several people corrected alike"
            verdicts.append(turn.ruling.verdict.value)
            exams.append(exam(world, skill, agent, wave))
            print(f"desk, seed {seed}, wave {wave}: {exams[-1]}, {verdicts[-1]}", flush=True)
    return {"seed": seed, "verdicts": verdicts, "exams": exams}


def exam(world: World, skill: ActingSkill, agent: LocalAgent, wave: int) -> dict[str, Any]:
    """Shares of held-out conversations under the rules up to `wave`: ended as wanted by wave of the rule,
    near misses that act as the rule does, and conversations that no rule is about ended as wanted."""
    rules = world.announced(skill.agent, wave)
    source = SlotValues(random.Random("conversations"), read_words(), held_out=True)
    ended: dict[str, list[bool]] = {}
    leaked: list[bool] = []
    for rule in rules:
        asked = [_about(world, rule, source) for _ in range(HELD)]
        ended.setdefault(str(rule.wave), []).extend(
            _right(world, skill, asked, agent.play(skill, asked), rules)
        )
        near = [_near(world, rule, source) for _ in range(HELD)]
        leaked += [
            call_text(rule.near[asked.intent], asked.values) in calls_in(messages)
            for asked, messages in zip(near, agent.play(skill, near), strict=True)
        ]
    free = [_free(world, skill, source) for _ in range(HELD)]
    return {
        "ended_as_wanted": {name: _share(right) for name, right in ended.items()},
        "near_misses_fired": _share(leaked),
        "others_ended_as_wanted": _share(_right(world, skill, free, agent.play(skill, free), ())),
    }


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures over the seeds, in shares; changes in percentage points."""
    last = [run["exams"][-1] for run in runs]
    changes = [
        run["exams"][-1]["ended_as_wanted"][str(wave)] - run["exams"][wave]["ended_as_wanted"][str(wave)]
        for run in runs
        for wave in range(1, len(run["exams"]) - 1)
    ]
    over_base = [run["exams"][-1]["near_misses_fired"] - run["exams"][0]["near_misses_fired"] for run in runs]
    lost = [
        run["exams"][0]["others_ended_as_wanted"] - run["exams"][-1]["others_ended_as_wanted"] for run in runs
    ]
    return {
        "seeds": len(runs),
        "ended_as_wanted_before": _mean(_all_rules(run["exams"][0]) for run in runs),
        "ended_as_wanted": _mean(map(_all_rules, last)),
        "near_miss_over_base_pp": _points(over_base),
        "bwt_pp": _points(changes),
        "others_lost_pp": _points(lost),
        "promoted": sum(run["verdicts"].count("promote") for run in runs),
        "candidates": sum(len(run["verdicts"]) for run in runs),
    }


def _about(world: World, rule: Rule, source: SlotValues) -> Conversation:
    while True:
        asked = _asked(world, source, rule.agent, rule.intent)
        if rule.fires_on(asked):
            return asked


def _near(world: World, rule: Rule, source: SlotValues) -> Conversation:
    while True:
        asked = _asked(world, source, rule.agent, source.chance.choice(tuple(rule.near)))
        if not any(other.fires_on(asked) for other in world.rules):
            return asked


def _free(world: World, skill: ActingSkill, source: SlotValues) -> Conversation:
    while True:
        asked = _asked(world, source, skill.agent, None)
        if not any(rule.fires_on(asked) for rule in world.rules):
            return asked


def _asked(world: World, source: SlotValues, agent: str, intent: str | None) -> Conversation:
    asked = world.ask(source, agent, intent)
    assert isinstance(asked, Conversation), "the agent has tools"
    return asked


def _right(
    world: World,
    skill: ActingSkill,
    asked: Sequence[Conversation],
    held: Sequence[Sequence[Message]],
    rules: Sequence[Rule],
) -> list[bool]:
    return [
        same_turns(messages, skill.messages(world.wanted(conversation, rules)))
        for conversation, messages in zip(asked, held, strict=True)
    ]


def _all_rules(result: Mapping[str, Any]) -> float:
    return statistics.fmean(result["ended_as_wanted"].values())


def _share(values: Sequence[bool]) -> float:
    return round(statistics.fmean(values), 4)


def _mean(values: Any) -> float:
    return round(statistics.fmean(values), 4)


def _points(values: Sequence[float]) -> float | None:
    return round(100 * statistics.fmean(values), 2) if values else None
