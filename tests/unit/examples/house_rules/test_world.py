"""Worlds: prompts and replies follow the world file, and a broken file is refused in one line."""

import random
import shutil
from pathlib import Path

import pytest

from examples.base_model.skills import Skills, read_skills
from examples.base_model.slots import SlotValues, has_doubled_digit, read_words
from examples.house_rules.world import Rule, World
from examples.house_rules.world_file import BrokenWorldError, read_world

WORLDS = Path(__file__).resolve().parents[4] / "examples" / "house_rules" / "worlds"
FILES = sorted(WORLDS.glob("*.toml"))


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def world(request: pytest.FixtureRequest) -> World:
    return read_world(request.param)


def build_source(*, held_out: bool, seed: int = 1) -> SlotValues:
    return SlotValues(random.Random(seed), read_words(), held_out=held_out)


def rules_with_announced(world: World) -> list[tuple[Rule, tuple[Rule, ...]]]:
    return [(rule, world.announced(rule.agent, rule.wave)) for rule in world.rules]


def test_every_agent_has_two_waves(world: World) -> None:
    assert all(world.waves(agent) == 2 for agent in world.agents)


def test_a_rule_changes_the_reply_on_which_it_fires(world: World) -> None:
    for rule, announced in rules_with_announced(world):
        with_rule = world.fires(rule, build_source(held_out=False), announced)
        without = world.fires(rule, build_source(held_out=False), ())
        assert with_rule.messages == without.messages
        assert with_rule.wanted != without.wanted


def test_of_a_conversation_people_also_correct_the_last_words_after_the_act() -> None:
    world = read_world(WORLDS / "shop.toml")
    [rule] = world.of_wave("desk", 1)
    values = build_source(held_out=False)
    tasks = [world.corrected(rule, values, [rule]) for _ in range(100)]
    last_words = [task for task in tasks if task.messages[-1]["role"] == "tool" and len(task.messages) == 6]
    assert 15 <= len(last_words) <= 45
    for task in last_words:
        assert task.messages[-2]["tool_calls"][0]["function"]["name"] == "handover"
        assert task.wanted.startswith("finance looks at order ")
        assert task.comment == rule.comment


def test_people_never_want_the_rules_reply_to_a_near_miss(world: World) -> None:
    for rule, announced in rules_with_announced(world):
        values = build_source(held_out=False)
        tasks = [world.near(rule, values, announced) for _ in range(50)]
        assert all(task.leak is not None and task.leak != task.wanted for task in tasks)


def test_no_rule_of_a_later_wave_fires_on_traffic_before_it(world: World) -> None:
    for agent in world.agents:
        values = build_source(held_out=False)
        unannounced = [world.traffic(agent, values, ()) for _ in range(300)]
        same_values = build_source(held_out=False)
        assert [task.wanted for task in unannounced] == [
            world.traffic(agent, same_values, ()).wanted for _ in range(300)
        ]
        intents = {
            rule.intent for rule in world.rules if rule.agent == agent and not rule.when and not rule.unless
        }
        assert not intents & {task.intent for task in unannounced}


def test_held_out_words_and_numbers_are_never_trained_on() -> None:
    used, held_out = build_source(held_out=False), build_source(held_out=True)
    words = {used.word() for _ in range(20_000)}
    assert not words & {held_out.word() for _ in range(1_000)}
    numbers = {used.number(1000, 9999) for _ in range(5_000)}
    assert not numbers & {held_out.number(1000, 9999) for _ in range(5_000)}


def test_no_prompt_has_a_doubled_digit(world: World) -> None:
    values = build_source(held_out=True)
    assert not any(
        has_doubled_digit(world.traffic(agent, values, world.rules).prompt)
        for agent in world.agents
        for _ in range(200)
    )


def test_the_same_seed_gives_the_same_prompts(world: World) -> None:
    agent = world.agents[0]
    first = [world.traffic(agent, build_source(held_out=False), ()) for _ in range(3)]
    assert first == [world.traffic(agent, build_source(held_out=False), ()) for _ in range(3)]


def test_no_rule_wants_the_reply_that_the_base_gives_without_a_cue(world: World) -> None:
    skills: Skills = read_skills()
    for rule in (rule for rule in world.rules if rule.agent in skills.agents):
        intent = skills.agents[rule.agent].intents[rule.intent]
        assert rule.reply != intent.reply


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        ("wave = 1", "wave = 0", "wave must be a whole number"),
        ("wave = 1", "wave = 3", "without a gap"),
        ('intent = "cancel"', 'intent = "cancle"', "no intent 'cancle'"),
        ('agent = "support"', 'agent = "suport"', "'suport' is not under"),
        ('"order":<order>,"notify"', '"order":<ordr>,"notify"', "no slot <ordr>"),
        ('scorer = "json"', 'scorer = "jason"', "must be one of"),
        ('comment = "whoever', 'coment = "whoever', "unknown key 'coment'"),
        ('customer = "vip"', 'customer = "rich"', "never fires"),
        ("skills = ", "# skills = ", "'skills' must be a text"),
        ('short = ["coder"', 'short = ["codre"', "'short' must name agents"),
        ('intent = "address"\nwhen', 'intent = "adress"\nwhen', "no intent 'adress'"),
        ('status = "packed"', 'state = "packed"', "no slot <state>"),
        ("[[rules]]", "[[rules", "worlds.toml"),
    ],
)
def test_a_broken_world_file_is_refused_in_one_line(
    tmp_path: Path, was: str, becomes: str, complaint: str
) -> None:
    text = (WORLDS / "shop.toml").read_text().replace("../../base_model/", "")
    assert was in text
    for name in ("skills.toml", "conversations.toml"):
        shutil.copy(WORLDS.parents[1] / "base_model" / name, tmp_path / name)
    broken = tmp_path / "worlds.toml"
    broken.write_text(text.replace(was, becomes, 1))
    with pytest.raises(BrokenWorldError, match=complaint) as refusal:
        read_world(broken)
    assert "\n" not in str(refusal.value)


def test_a_missing_world_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BrokenWorldError, match="nowhere"):
        read_world(tmp_path / "nowhere.toml")


def test_a_world_can_be_cut_after_a_wave(world: World) -> None:
    cut = world.up_to(1)
    assert {rule.wave for rule in cut.rules} == {1}
    assert cut.agents == world.agents
    assert {rule.wave for rule in world.rules} == {1, 2}
