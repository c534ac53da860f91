"""What the demo shows: plain lines, the picture, the sparklines."""

import io
from pathlib import Path

from rich.console import Console

from examples.house_rules.progress import AgentProgress, DemoProgress
from examples.house_rules.view import View, sparkline

SHOP = Path(__file__).resolve().parents[4] / "examples" / "house_rules" / "worlds" / "shop.toml"


def build_progress() -> DemoProgress:
    agent = AgentProgress(
        agent="sql", waves=2, followed=1, version="v1-3fa2c1", verdict="v1 promote: 10 better"
    )
    agent.history.extend([0.0, 0.5, 1.0])
    agent.recent.extend([True, True, True, False])
    return DemoProgress(title="The shop", broker="kafka", agents={"sql": agent})


def test_a_screen_that_is_no_terminal_gets_plain_lines() -> None:
    out = io.StringIO()
    with View(build_progress(), Console(file=out, force_terminal=False)) as view:
        view.show("sql: wave 1 announced")
        view.refresh()
        view.refresh()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "sql 75% v1-3fa2c1" in lines[1]
    assert "\x1b" not in out.getvalue()


def test_the_picture_shows_agents_versions_and_verdicts(tmp_path: Path) -> None:
    view = View(build_progress(), Console(file=io.StringIO(), force_terminal=False))
    view.save_svg(tmp_path / "view.svg")
    drawn = (tmp_path / "view.svg").read_text()
    assert "v1-3fa2c1" in drawn
    assert "10&#160;better" in drawn


def test_a_sparkline_goes_from_the_lowest_bar_to_the_highest() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([]) == ""


def test_a_sparkline_shows_everything_from_the_beginning() -> None:
    assert sparkline([0.0] * 140 + [1.0] * 140) == "▁" * 14 + "█" * 14
    assert len(sparkline([0.5] * 29)) == 28
