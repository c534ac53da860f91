"""The demo's command line."""

from pathlib import Path

import pytest

from examples.house_rules import demo

SHOP = Path(__file__).resolve().parents[4] / "examples" / "house_rules" / "worlds" / "shop.toml"


def test_a_broken_world_ends_the_demo_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("title = ")
    assert demo.main(["--world", str(broken)]) == 2
    assert len(capsys.readouterr().out.strip().splitlines()) == 1
