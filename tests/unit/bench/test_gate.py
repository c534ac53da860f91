"""The gate's benchmark: what candidates are made of, what counts as good or bad, and what is counted."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.adapter_mixes import MixPart, write_mix
from bench.gate import is_bad, is_good, summarise
from bench.gate_candidates import (
    ALONE,
    CHAMPION,
    SHUFFLED,
    TRAINED,
    alone,
    candidates_of,
    few_of,
    shuffled,
)
from bench.gate_subjects import _rule_exam
from bench.learning import WORLD
from engine.adapter_files import CONFIG, WEIGHTS
from engine.lesson import Lesson
from engine.recipe import Recipe
from examples.house_rules.world_file import read_world
from rewards.episode import Episode, Part, Weighted

BEFORE = {"new": 0.0, "earlier": 1.0, "near": 1.0, "other": 1.0}


def build_adapter(folder: Path, *, seed: int, rank: int = 2, alpha: float = 4.0) -> Path:
    torch.manual_seed(seed)
    folder.mkdir()
    tensors = {}
    for module in ("layers.0.q_proj", "layers.1.q_proj"):
        tensors[f"{module}.lora_A.weight"] = torch.randn(rank, 3)
        tensors[f"{module}.lora_B.weight"] = torch.randn(5, rank)
    save_file(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"r": rank, "lora_alpha": alpha}))
    return folder


def product(folder: Path, module: str) -> torch.Tensor:
    """The change of the module's weights."""
    tensors, config = load_file(folder / WEIGHTS), json.loads((folder / CONFIG).read_text())
    scale: float = config["lora_alpha"] / config["r"]
    return scale * tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]


def build_lesson() -> Lesson:
    def episode(name: str, part: Part) -> Episode:
        message = {"role": "user", "content": name}
        return Episode(events=(name,), part=part, messages=(message,), reply=Weighted(text=f"reply {name}"))

    parts = (Part.NEW, Part.ANCHOR, Part.NEW, Part.NEW, Part.REPLAY)
    episodes = tuple(episode(str(number), part) for number, part in enumerate(parts))
    return Lesson(agent="support", parent=None, recipe=Recipe(), seed=1, episodes=episodes)


def build_run(*, family: str = "scaled", verdict: str = "promote", **exam: float) -> dict[str, Any]:
    return {
        "agent": "support",
        "family": family,
        "name": "x 0.9",
        "exam_before": BEFORE,
        "exam": {**BEFORE, "new": 1.0, **exam},
        "verdict": verdict,
        "reasons": [],
        "gate": [12, 0, 14],
        "suite": [0, 0, 40],
    }


def test_a_mix_changes_weights_by_the_sum_of_its_adapters(tmp_path: Path) -> None:
    first = build_adapter(tmp_path / "first", seed=1)
    second = build_adapter(tmp_path / "second", seed=2, rank=3, alpha=3.0)
    parts = [(first, MixPart(adapter="first", factor=0.25)), (second, MixPart(adapter="second", factor=-2.0))]
    write_mix(parts, tmp_path / "mix")
    for module in ("layers.0.q_proj", "layers.1.q_proj"):
        wanted = 0.25 * product(first, module) - 2.0 * product(second, module)
        assert torch.allclose(product(tmp_path / "mix", module), wanted, atol=1e-5)


def test_a_module_that_is_left_out_changes_nothing(tmp_path: Path) -> None:
    first = build_adapter(tmp_path / "first", seed=1)
    write_mix([(first, MixPart(adapter="first", without=r"\.0\..*q_proj"))], tmp_path / "mix")
    assert not product(tmp_path / "mix", "layers.0.q_proj").any()
    assert torch.allclose(product(tmp_path / "mix", "layers.1.q_proj"), product(first, "layers.1.q_proj"))


def test_shuffled_corrections_have_the_texts_of_others_and_nothing_else_changes() -> None:
    lesson = build_lesson()
    texts = [episode.reply.text for episode in shuffled(lesson).episodes]
    assert texts == ["reply 2", "reply 1", "reply 3", "reply 0", "reply 4"]
    assert [episode.messages for episode in shuffled(lesson).episodes] == [
        episode.messages for episode in lesson.episodes
    ]


def test_corrections_alone_have_neither_replay_nor_anchors() -> None:
    assert {episode.part for episode in alone(build_lesson()).episodes} == {Part.NEW}


def test_two_agents_have_more_than_a_hundred_candidates_of_which_each_differs() -> None:
    candidates = candidates_of([CHAMPION, TRAINED, SHUFFLED, ALONE], layers=(0, 1, 2))
    assert len(candidates) >= 50
    assert len({candidate.mix for candidate in candidates}) == len(candidates)
    assert len({(candidate.family, candidate.name) for candidate in candidates}) == len(candidates)


def test_a_first_wave_has_no_champion_to_mix_with_and_no_rule_to_forget() -> None:
    candidates = candidates_of([TRAINED, ALONE], layers=(15,))
    assert {part.adapter for candidate in candidates for part in candidate.mix} == {TRAINED, ALONE}
    assert "an old rule broken" not in {candidate.family for candidate in candidates}
    assert len(few_of(candidates)) == 12


def test_a_layer_is_found_by_its_whole_number() -> None:
    (candidate,) = (
        candidate for candidate in candidates_of([TRAINED], layers=(1,)) if candidate.name == "q_proj of 1"
    )
    assert candidate.mix[0].without is not None
    assert re.search(candidate.mix[0].without, "model.layers.1.self_attn.q_proj")
    assert not re.search(candidate.mix[0].without, "model.layers.11.self_attn.q_proj")


@pytest.mark.parametrize(
    ("changes", "good", "bad"),
    [
        ({"new": 1.0}, True, False),
        ({"new": 0.95, "near": 0.96}, True, False),
        ({"new": 0.95, "near": 0.9}, False, False),
        ({"new": 0.5}, False, False),
        ({"new": 0.1}, False, True),
        ({"new": 1.0, "earlier": 0.8}, False, True),
        ({"new": 1.0, "other": 0.0}, False, True),
    ],
)
def test_the_exam_says_what_is_good_and_what_is_bad(changes: dict[str, float], good: bool, bad: bool) -> None:
    after = {**BEFORE, **changes}
    assert (is_good(BEFORE, after), is_bad(BEFORE, after)) == (good, bad)


def test_wrong_promotions_and_good_ones_held_back_are_counted_and_named() -> None:
    runs = [
        build_run(),
        build_run(verdict="abstain"),
        build_run(family="over-trained", other=0.5),
        build_run(family="over-trained", other=0.5, verdict="refuse"),
        build_run(family="over-trained", new=0.6),
    ]
    report = summarise(runs)
    assert (report["good"], report["good_promoted_share"]) == (2, 0.5)
    assert (report["bad"], report["bad_promoted"], report["between"]) == (2, 1, 1)
    assert [len(report[name]) for name in ("good_held_back", "bad_let_through")] == [1, 1]
    assert {family["family"]: family["bad"] for family in report["families"]} == {
        "scaled": 0,
        "over-trained": 2,
    }
    json.dumps(report, allow_nan=False)


def test_the_exam_asks_with_held_out_values_about_new_and_earlier_rules() -> None:
    exam = _rule_exam(read_world(WORLD), "coder", wave=2, questions=6)
    assert {kind: len(tasks) for kind, tasks in exam.items()} == {
        "new": 6,
        "near": 6,
        "other": 6,
        "earlier": 6,
    }
    assert {task.intent for task in exam["new"]} == {"print"}
    assert {task.intent for task in exam["earlier"]} == {"read", "write"}
