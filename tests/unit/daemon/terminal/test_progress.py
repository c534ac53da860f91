"""People on a terminal see that a command works; files and programs see nothing of it."""

import io
import sys

import pytest

from daemon.terminal.progress import counting, working


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_goes_on_is_shown_on_a_terminal_only(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    error = io.StringIO()
    monkeypatch.setattr(error, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", error)
    monkeypatch.setenv("TERM", "xterm")
    with working("rewriting the ledger"):
        pass
    with counting("examining", 2) as began:
        began("kafka: topics")
    shown = error.getvalue()
    if is_terminal:
        for words in ("rewriting the ledger", "examining: kafka: topics", "1/2"):
            assert words in shown
    else:
        assert shown == ""
