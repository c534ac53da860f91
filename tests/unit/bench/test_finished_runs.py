"""A benchmark that was interrupted goes on where it was."""

from pathlib import Path

from bench.finished_runs import append_run, read_runs


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "runs.jsonl"
    assert read_runs(path) == []
    append_run(path, {"seed": 1})
    append_run(path, {"seed": 2})
    assert read_runs(path) == [{"seed": 1}, {"seed": 2}]


def test_a_line_that_was_cut_off_costs_that_run_alone(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    append_run(path, {"seed": 1})
    with path.open("a") as file:
        file.write('{"se')
    append_run(path, {"seed": 2})
    assert read_runs(path) == [{"seed": 1}, {"seed": 2}]
