"""The demo's own arithmetic: marks, goals, swaps; its view; the settings it writes; its processes."""

import io
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from daemon.settings import read_settings
from engine.recipe import recipe_from
from examples.house_rules import demo, report
from examples.house_rules.child import DemoProcess, end_noted
from examples.house_rules.measure import Exam, ExamResult, set_exam, take_exams
from examples.house_rules.people.poison import REASONS
from examples.house_rules.recipe import RECIPE, clorad_toml
from examples.house_rules.report import AgentFigures, Figures, Request, Swap
from examples.house_rules.scene import AgentScene, Scene
from examples.house_rules.stack import Plan, Stack, StackFailedError
from examples.house_rules.view import View, sparkline
from examples.house_rules.world import World
from examples.house_rules.world_file import read_world

SHOP = Path(__file__).resolve().parents[3] / "examples" / "house_rules" / "worlds" / "shop.toml"


@pytest.fixture
def world() -> World:
    return read_world(SHOP)


@pytest.fixture
def exam(world: World) -> Exam:
    return set_exam(world, "coder", n=100)


def test_an_exam_has_enough_of_every_part_and_of_every_rule(world: World, exam: Exam) -> None:
    assert min(len(exam.fires), len(exam.near), len(exam.free)) >= 100
    assert {task.intent for task in exam.fires} == {
        rule.intent for rule in world.rules if rule.agent == "coder"
    }
    assert exam == set_exam(world, "coder", n=100)


def test_whoever_follows_every_rule_has_full_marks(exam: Exam) -> None:
    marks = take_exams([exam], lambda tasks: [task.wanted for task in tasks])["coder"]
    assert (marks.followed, marks.leaked, marks.kept, marks.failed) == (1.0, 0.0, 1.0, 0)


def test_whoever_applies_rules_where_they_must_not_is_found_out(exam: Exam) -> None:
    marks = take_exams([exam], lambda tasks: [task.leak or task.wanted for task in tasks])["coder"]
    assert marks.followed == 1.0
    assert marks.leaked == 1.0


def test_requests_without_an_answer_are_counted_as_failed(exam: Exam) -> None:
    marks = take_exams([exam], lambda tasks: [None for _ in tasks])["coder"]
    assert marks.failed == marks.requests
    assert marks.followed == 0.0


def marks(followed: float, *, leaked: float = 0.0, kept: float = 1.0) -> ExamResult:
    return ExamResult(n=100, followed=followed, leaked=leaked, kept=kept, requests=300, failed=0)


def good_figures() -> Figures:
    swaps = [Swap(agent="sql", decided_s=float(s), adopted_s=s + 0.5) for s in (10, 20, 30, 40, 50, 60)]
    requests = [Request(started_s=s - 1.0, ended_s=s + 0.2, ok=True) for s in (10, 20, 30, 40, 50, 60)] * 20
    requests += [Request(started_s=0.0, ended_s=1.0, ok=True)] * 1500
    return Figures(
        agents={"sql": AgentFigures(before=marks(0.0), after=marks(0.97), versions=2, refused=1)},
        agents_per_pass_max=3,
        requests=requests,
        exam_requests=600,
        exam_failed=0,
        swaps=swaps,
        event_to_live_s=[10.0, 20.0, 30.0],
        events_produced=110,
        events_stored=100,
        events_missing=0,
        dead_letters=dict.fromkeys(REASONS, 2),
        bad_batch_refused=True,
        audit="clean",
        broker="kafka",
        kills=(),
        replayed={},
        seconds=400.0,
    )


def missed(figures: Figures, *, chaos: bool = False) -> list[str]:
    return [goal.what for goal in report.goals(figures, whole=True, chaos=chaos) if not goal.met]


def test_a_good_run_meets_every_goal() -> None:
    assert missed(good_figures()) == []


@pytest.mark.parametrize(
    ("change", "goal"),
    [
        ({"bad_batch_refused": False}, "bad batch"),
        ({"agents_per_pass_max": 1}, "in one pass"),
        ({"exam_failed": 1}, "no request failed"),
        ({"audit": "clorad.feedback 3: a range is missing"}, "audit"),
        ({"events_missing": 1}, "in the ledger"),
        ({"dead_letters": {"oversized": 10}}, "poison"),
        ({"requests": ()}, "1,500"),
    ],
)
def test_each_goal_can_be_missed(change: dict[str, object], goal: str) -> None:
    assert any(goal in one for one in missed(replace(good_figures(), **change)))


@pytest.mark.parametrize(
    ("before", "after", "goal"),
    [
        (marks(0.5), marks(0.95), "before"),
        (marks(0.0), marks(0.89), "90 %"),
        (marks(0.0), marks(0.95, leaked=0.04), "near misses"),
        (marks(0.0), marks(0.95, kept=0.96), "the rest"),
    ],
)
def test_an_agent_can_fall_short(before: ExamResult, after: ExamResult, goal: str) -> None:
    agent = AgentFigures(before=before, after=after, versions=2, refused=0)
    found = missed(replace(good_figures(), agents={"sql": agent}))
    assert len(found) == 1
    assert goal in found[0]


def test_chaos_needs_the_killed_passes_to_replay() -> None:
    assert "killed passes" in missed(good_figures(), chaos=True)[0]
    assert missed(replace(good_figures(), replayed={3: True}), chaos=True) == []
    assert missed(replace(good_figures(), replayed={3: False}), chaos=True) != []


def test_a_request_spans_a_swap_if_it_was_in_flight_at_any_moment_of_it() -> None:
    swap = Swap(agent="sql", decided_s=10.0, adopted_s=11.0)
    times = [(9.0, 9.9), (9.0, 10.0), (10.2, 10.4), (10.9, 12.0), (11.1, 12.0)]
    requests = [Request(started_s=start, ended_s=end, ok=True) for start, end in times]
    assert replace(good_figures(), swaps=[swap], requests=requests).spanning == 3


def test_the_report_has_its_documented_names() -> None:
    figures = good_figures()
    said = report.as_json(figures, report.goals(figures, whole=True, chaos=False))
    assert said["agents"]["sql"] == {
        "before": 0.0,
        "after": 0.97,
        "n": 100,
        "near_miss_before": 0.0,
        "near_miss_after": 0.0,
        "retention_before": 1.0,
        "retention_after": 1.0,
        "versions": 2,
        "refused": 1,
    }
    assert said["swap_ms_p50"] == 500
    assert said["requests"] == len(figures.requests) + 600


def a_scene() -> Scene:
    agent = AgentScene(agent="sql", waves=2, followed=1, version="v1-3fa2c1", verdict="v1 promote: 10 better")
    agent.history.extend([0.0, 0.5, 1.0])
    agent.recent.extend([True, True, True, False])
    return Scene(title="The shop", broker="kafka", agents={"sql": agent})


def test_a_screen_that_is_no_terminal_gets_plain_lines() -> None:
    out = io.StringIO()
    with View(a_scene(), Console(file=out, force_terminal=False)) as view:
        view.say("sql: wave 1 announced")
        view.refresh()
        view.refresh()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "sql 75% v1-3fa2c1" in lines[1]
    assert "\x1b" not in out.getvalue()


def test_the_picture_shows_agents_versions_and_verdicts(tmp_path: Path) -> None:
    view = View(a_scene(), Console(file=io.StringIO(), force_terminal=False))
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


def test_clorad_accepts_the_settings_the_demo_writes(tmp_path: Path) -> None:
    config = tmp_path / "clorad.toml"
    config.write_text(
        clorad_toml(
            folder=tmp_path,
            base=tmp_path / "base",
            bootstrap="127.0.0.1:9092",
            kafka_options={"api_version": [2, 3]},
            first_start="beginning",
            replicas=["http://127.0.0.1:8000"],
            gateway_port=8080,
            ledger_url="sqlite:///ledger.db",
            agents={"support": "json", "sql": "exact"},
        )
    )
    settings = read_settings(config)
    assert settings.agents["support"].scorer == "json"
    assert settings.kafka.options == {"api_version": [2, 3]}
    recipe = recipe_from(settings.agents["sql"].recipe)
    assert recipe.learning_rate == RECIPE["learning_rate"]


def test_a_child_that_ignores_being_asked_is_killed_with_its_group(tmp_path: Path) -> None:
    deaf = "from signal import *; signal(SIGTERM, SIG_IGN); print('up', flush=True); pause(); pause()"
    child = DemoProcess("deaf", [sys.executable, "-c", deaf], tmp_path / "deaf.log")
    child.start()
    until = time.monotonic() + 20
    while child.last_line() != "up" and time.monotonic() < until:
        time.sleep(0.05)
    child.stop(stop_s_max=0.5)
    assert child.ended() == -9


def test_a_leftover_is_ended_only_if_it_is_ours(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    note = tmp_path / "old.pid"
    note.write_text(str(sleeper.pid))
    try:
        end_noted(note, belongs_to=str(tmp_path))
        assert sleeper.poll() is None
        end_noted(note, belongs_to="sleep 60")
        assert sleeper.wait(10) == -9
    finally:
        sleeper.kill()
        sleeper.wait(10)


def test_a_broken_world_ends_the_demo_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("title = ")
    assert demo.main(["--world", str(broken)]) == 2
    assert len(capsys.readouterr().out.strip().splitlines()) == 1


def test_a_second_demo_in_one_folder_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    plan = Plan(folder=tmp_path / "demo", agents={})
    first, second = Stack(plan), Stack(plan)
    first.claim()
    (tmp_path / "demo").mkdir()
    try:
        with pytest.raises(StackFailedError, match="another demo plays"):
            second.start()
        assert (tmp_path / "demo").is_dir()
    finally:
        second.stop()
        first.stop()
    second.claim()
    second.stop()
