"""What is run on a GPU: each part is bounded, and says how it ended."""

from bench.gpu import BoundedCommand, parts, run_part


def test_a_part_says_its_last_line() -> None:
    result = run_part(BoundedCommand(words=("this",), s_max=30.0))
    assert result["exit"] == 0
    assert result["last_line"] == "Namespaces are one honking great idea -- let's do more of those!"
    assert result["last_error"] == ""


def test_a_part_that_fails_says_its_error() -> None:
    result = run_part(BoundedCommand(words=("no_such_module",), s_max=30.0))
    assert result["exit"] == 1
    assert "no_such_module" in result["last_error"]


def test_a_part_that_takes_too_long_is_ended() -> None:
    result = run_part(BoundedCommand(words=("http.server", "0", "--bind", "127.0.0.1"), s_max=1.0))
    assert result["exit"] is None


def test_all_parts_end_within_ten_minutes() -> None:
    assert sum(part.s_max for part in parts("cuda", "qwen3-4b")) <= 600.0
