"""The world of the shop, and what its desk can do by tools: fixtures that tests of every kind share."""

from pathlib import Path

import pytest

import examples.house_rules
from examples.base_model.conversations import ActingSkill
from examples.house_rules.world import World
from examples.house_rules.world_file import read_world

SHOP = Path(examples.house_rules.__path__[0]) / "worlds" / "shop.toml"


@pytest.fixture(scope="session")
def world() -> World:
    """The shop. Modules about another world have a fixture of this name of their own."""
    return read_world(SHOP)


@pytest.fixture(scope="session")
def skill(world: World) -> ActingSkill:
    """The desk: what it does before anybody corrects it."""
    assert world.acting is not None
    return world.acting
