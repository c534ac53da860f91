"""The demo's servers and roles: one demo in a folder at a time."""

from pathlib import Path

import pytest

from examples.house_rules.stack import Stack, StackFailedError, StackOptions

SHOP = Path(__file__).resolve().parents[4] / "examples" / "house_rules" / "worlds" / "shop.toml"


def test_a_second_demo_in_one_folder_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    plan = StackOptions(folder=tmp_path / "demo", agents={})
    first, second = Stack(plan), Stack(plan)
    first.claim()
    (tmp_path / "demo").mkdir()
    try:
        with pytest.raises(StackFailedError, match="another demo runs"):
            second.start()
        assert (tmp_path / "demo").is_dir()
    finally:
        second.stop()
        first.stop()
    second.claim()
    second.stop()
