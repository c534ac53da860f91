"""The demo's report: which goals a run meets, and the figures in the JSON."""

from dataclasses import replace
from pathlib import Path

import pytest

from examples.house_rules import report
from examples.house_rules.evaluation import EvaluationResult
from examples.house_rules.people.poison import REASONS
from examples.house_rules.report import AgentFigures, Figures, Request, Swap

SHOP = Path(__file__).resolve().parents[4] / "examples" / "house_rules" / "worlds" / "shop.toml"


def build_result(followed: float, *, leaked: float = 0.0, kept: float = 1.0) -> EvaluationResult:
    return EvaluationResult(n=100, followed=followed, leaked=leaked, kept=kept, requests=300, failed=0)


def build_figures() -> Figures:
    swaps = [Swap(agent="sql", decided_s=float(s), adopted_s=s + 0.5) for s in (10, 20, 30, 40, 50, 60)]
    requests = [Request(started_s=s - 1.0, ended_s=s + 0.2, ok=True) for s in (10, 20, 30, 40, 50, 60)] * 20
    requests += [Request(started_s=0.0, ended_s=1.0, ok=True)] * 1500
    return Figures(
        agents={
            "sql": AgentFigures(before=build_result(0.0), after=build_result(0.97), versions=2, refused=1)
        },
        agents_per_pass_max=3,
        requests=requests,
        evaluation_requests=600,
        evaluation_failed=0,
        swaps=swaps,
        event_to_live_s=[10.0, 20.0, 30.0],
        delays=[],
        first_followed_s=74.0,
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


def missed(figures: Figures, *, full: bool = True, chaos: bool = False) -> list[str]:
    return [goal.what for goal in report.goals(figures, whole=True, full=full, chaos=chaos) if not goal.met]


def test_a_good_run_meets_every_goal() -> None:
    assert missed(build_figures()) == []


@pytest.mark.parametrize(
    ("change", "goal"),
    [
        ({"bad_batch_refused": False}, "bad batch"),
        ({"agents_per_pass_max": 1}, "in one pass"),
        ({"evaluation_failed": 1}, "no request failed"),
        ({"audit": "clorad.feedback 3: a range is missing"}, "audit"),
        ({"events_missing": 1}, "in the ledger"),
        ({"dead_letters": {"oversized": 10}}, "poison"),
        ({"requests": ()}, "1,500"),
    ],
)
def test_each_goal_can_be_missed(change: dict[str, object], goal: str) -> None:
    assert any(goal in text for text in missed(replace(build_figures(), **change)))


@pytest.mark.parametrize(
    ("before", "after", "goal"),
    [
        (build_result(0.5), build_result(0.95), "before"),
        (build_result(0.0), build_result(0.89), "90 %"),
        (build_result(0.0), build_result(0.95, leaked=0.04), "near misses"),
        (build_result(0.0), build_result(0.95, kept=0.96), "the rest"),
    ],
)
def test_an_agent_can_fall_short(before: EvaluationResult, after: EvaluationResult, goal: str) -> None:
    agent = AgentFigures(before=before, after=after, versions=2, refused=0)
    missed_goals = missed(replace(build_figures(), agents={"sql": agent}))
    assert len(missed_goals) == 1
    assert goal in missed_goals[0]


def test_a_short_run_needs_one_version_less_traffic_and_no_bad_batch() -> None:
    agent = AgentFigures(before=build_result(0.0), after=build_result(0.97), versions=1, refused=0)
    short = replace(
        build_figures(),
        agents={"sql": agent},
        requests=build_figures().requests[:500],
        bad_batch_refused=None,
    )
    assert missed(short, full=False) == []
    assert len(missed(short)) == 3


def test_chaos_needs_the_killed_passes_to_replay() -> None:
    assert "killed passes" in missed(build_figures(), chaos=True)[0]
    assert missed(replace(build_figures(), replayed={3: True}), chaos=True) == []
    assert missed(replace(build_figures(), replayed={3: False}), chaos=True) != []


def test_a_request_spans_a_swap_if_it_was_in_flight_at_any_moment_of_it() -> None:
    swap = Swap(agent="sql", decided_s=10.0, adopted_s=11.0)
    times = [(9.0, 9.9), (9.0, 10.0), (10.2, 10.4), (10.9, 12.0), (11.1, 12.0)]
    requests = [Request(started_s=start, ended_s=end, ok=True) for start, end in times]
    assert replace(build_figures(), swaps=[swap], requests=requests).spanning == 3


def test_the_report_has_its_documented_names() -> None:
    figures = build_figures()
    written = report.as_json(figures, report.goals(figures, whole=True, full=True, chaos=False))
    assert written["agents"]["sql"] == {
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
    assert written["swap_ms_p50"] == 500
    assert written["requests"] == len(figures.requests) + 600
