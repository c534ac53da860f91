"""Worlds in natural language: what is taught, what is asked, and that they have nothing in common."""

from pathlib import Path

import pytest

from examples.real_base.prose_world import LINDENHOF, ProseWorld, WorldRefused, read_prose_world


@pytest.fixture(scope="module")
def world() -> ProseWorld:
    return read_prose_world()


def test_the_same_seed_gives_the_same_prompts_and_another_seed_others(world: ProseWorld) -> None:
    rule = world.rules[0]
    first, again, other = (world.about(rule, 12, seed=seed, held_out=False) for seed in ("1", "1", "2"))
    assert first == again
    assert first != other


def test_prompts_of_a_rule_differ_and_use_every_phrasing(world: ProseWorld) -> None:
    rule = world.rules[0]
    prompts = world.about(rule, 25, seed="1", held_out=False)
    assert len({prompt.text for prompt in prompts}) == 25
    for phrasing in rule.phrasings.taught:
        assert any(prompt.text.startswith(phrasing[: phrasing.index("<")]) for prompt in prompts)


def test_teaching_and_exam_share_no_prompt_and_no_slot_value(world: ProseWorld) -> None:
    assert all(not set(slot.taught) & set(slot.held_out) for slot in world.slots.values())
    for rule in world.rules:
        taught = {prompt.text for prompt in world.about(rule, 50, seed="1", held_out=False)}
        asked = {prompt.text for prompt in world.about(rule, 50, seed="1", held_out=True)}
        assert not taught & asked


def test_every_reply_by_a_rule_begins_with_its_mark_and_says_what_the_prompt_says(world: ProseWorld) -> None:
    for rule in world.rules:
        for prompt in world.about(rule, 5, seed="1", held_out=True):
            assert prompt.wanted is not None
            assert prompt.wanted.startswith(rule.mark)
            assert "<" not in prompt.wanted


def test_near_misses_and_chat_have_no_wanted_reply(world: ProseWorld) -> None:
    for agent in world.agents:
        beside = world.beside(agent, "near", 20, seed="1", held_out=True)
        assert len(beside) > 3
        assert all(prompt.wanted is None for prompt in beside)


def test_there_are_at_most_as_many_prompts_as_phrasings_and_values_allow(world: ProseWorld) -> None:
    texts = [prompt.text for prompt in world.beside("writer", "chat", 10_000, seed="1", held_out=True)]
    assert 4 < len(texts) < 50
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('agent = "support"', 'agent = "nobody"', "no agent named nobody"),
        ("Please cancel order <order>.", "Please cancel my order.", "does not say order"),
        ("Do you sell <wood> tables?", "Do you sell <metal> tables?", "unknown slots metal"),
        ('held_out = ["maple", "ash", "beech"]', 'held_out = ["oak"]', "a value of the exam is taught"),
        ('mark = "import logging"', 'mark = "logging"', "does not begin with its mark"),
    ],
)
def test_a_world_that_cannot_be_taught_is_refused_by_name(
    tmp_path: Path, old: str, new: str, why: str
) -> None:
    path = tmp_path / "world.toml"
    path.write_text(LINDENHOF.read_text().replace(old, new))
    with pytest.raises(WorldRefused, match=why):
        read_prose_world(path)
