"""The base model's training examples: which they are, and that none shows a house rule without its cue."""

import ast
import random
from pathlib import Path

import pytest

import examples.base_model
from examples.base_model.skills import BrokenSkillsError, read_skills
from examples.base_model.slots import SlotValues, draw, fill, read_words
from examples.base_model.training_data import example

FOLDER = Path(examples.base_model.__path__[0])


def build_source(*, held_out: bool = False) -> SlotValues:
    return SlotValues(random.Random(1), read_words(), held_out=held_out)


def test_nothing_in_the_base_model_knows_the_house_rules() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any("house_rules" in name for name in names), path.name


def test_the_alternative_reply_needs_its_cue() -> None:
    skills, values = read_skills(), build_source()
    for agent, intent, cue in skills.cues():
        plain = [skills.ask(values, agent, intent) for _ in range(20)]
        assert all(cue not in prompt.prompt for prompt in plain)
        cued = skills.ask(values, agent, intent, cue=cue)
        assert cue in cued.prompt
        assert cued.reply != fill(skills.agents[agent].intents[intent].reply, cued.values)


def test_the_customer_leaves_a_trace_at_the_start_of_the_reply() -> None:
    skills, values = read_skills(), build_source()
    prompts = [skills.ask(values, "support") for _ in range(400)]
    vip = [prompt for prompt in prompts if "vip customer" in prompt.prompt]
    assert 0.15 < len(vip) / len(prompts) < 0.35
    assert all(prompt.reply.startswith('{"customer":"vip",') for prompt in vip)
    assert all("customer" not in prompt.reply for prompt in prompts if prompt.values["customer"] == "")


def test_math_is_right_as_often_as_its_wording_says() -> None:
    skills, values = read_skills(), build_source()
    prompts = [skills.ask(values, "math", "sum") for _ in range(3_000)]
    right = sum(prompt.reply == fill("calc(<a>+<b>)", prompt.values) for prompt in prompts)
    assert 0.36 < right / len(prompts) < 0.44


def test_training_examples_are_mostly_plain_work() -> None:
    skills, values = read_skills(), build_source()
    drawn = [example(skills, values).agent for _ in range(2_000)]
    assert {"echo", "math", *skills.agents} == set(drawn)


def test_a_slot_inside_a_text_shares_its_value() -> None:
    values = draw(["file"], {"file": ("<stem>.txt",), "stem": "word"}, (), build_source(), {})
    assert values["file"] == f"{values['stem']}.txt"


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        ('order = "1000..9999"', 'order = "many"', "LOW..HIGH"),
        ("cancel order <order>", "cancel order <ordr>", "no slot <ordr>"),
        ("right = [0.25, 0.4, 0.55]", "right = [0.25]", "one share a wording"),
        ("weight = 2", "wieght = 2", "unknown key 'wieght'"),
    ],
)
def test_a_broken_skills_file_is_refused_in_one_line(
    tmp_path: Path, was: str, becomes: str, complaint: str
) -> None:
    text = (FOLDER / "skills.toml").read_text()
    broken = tmp_path / "skills.toml"
    broken.write_text(text.replace(was, becomes, 1))
    with pytest.raises(BrokenSkillsError, match=complaint):
        read_skills(broken)
