"""Large texts are redacted in another process, as the serving process would have redacted them."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.redaction import read_forms
from feedback.redaction import RedactionCounts, Redactor
from feedback.redaction_process import INLINE_BYTES_MAX, NotRedacted, ProcessRedactor
from tests.unit.feedback.event_builder import IDENTITY

LONG = "ordinary words " * (INLINE_BYTES_MAX // 15 + 1)


@pytest.fixture(scope="module")
def redactor() -> Iterator[ProcessRedactor]:
    redactor = ProcessRedactor(IDENTITY.fingerprint)
    yield redactor
    redactor.close()


def redact(redactor: Redactor, data: dict[str, Any]) -> tuple[dict[str, Any], RedactionCounts]:
    counts: RedactionCounts = Counter()
    return redactor.event_data(data, counts), counts


def processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "feedback.redaction_process" in child.cmdline()]


def test_a_large_event_comes_back_as_the_serving_process_would_have_redacted_it(
    redactor: ProcessRedactor,
) -> None:
    messages = [{"role": "user", "content": form.text} for form in read_forms()]
    data = {
        "agent": "billing",
        "author": "jane@example.com",
        "conversation": "c-1",
        "name": "password",
        "value": "hunter22",
        "target": {"id": "jane@example.com", "source": "ide"},
        "messages": [*messages, {"role": "user", "content": LONG, "huge": 10**40, "lone": "\ud83d"}],
        "tools": [{"type": "function", "function": {"name": "stock", "description": "ask jane@example.com"}}],
    }
    known, known_counts = redact(Redactor(IDENTITY.fingerprint), data)
    redacted, counts = redact(redactor, data)
    assert redacted == known
    assert counts == known_counts
    assert len(processes()) == 1
    assert known["author"].startswith("redacted:"), "the key stays here, and does its work"


def test_a_small_event_needs_no_process() -> None:
    redactor = ProcessRedactor(IDENTITY.fingerprint)
    before = len(processes())
    assert redact(redactor, {"messages": ["jane@example.com"]})[0] == {"messages": ["[email]"]}
    assert len(processes()) == before
    redactor.close()


def test_a_process_that_ended_costs_one_event_and_no_more(redactor: ProcessRedactor) -> None:
    data = {"messages": [f"{LONG} jane@example.com"]}
    redact(redactor, data)
    for process in processes():
        process.kill()
        process.wait()
    with pytest.raises(NotRedacted):
        redact(redactor, data)
    assert redact(redactor, data)[0] == {"messages": [f"{LONG} [email]"]}


def test_a_silent_process_is_ended() -> None:
    redactor = ProcessRedactor(IDENTITY.fingerprint, wait_s_max=5.0)
    data = {"messages": [f"{LONG} jane@example.com"]}
    known = {process.pid for process in processes()}
    redact(redactor, data)
    [silent] = [process for process in processes() if process.pid not in known]
    redactor.wait_s_max = 0.2
    os.kill(silent.pid, signal.SIGSTOP)
    with pytest.raises(NotRedacted, match="TimeoutError"):
        redact(redactor, data)
    assert not silent.is_running()
    redactor.close()


def test_a_unit_that_forbids_another_priority_gets_large_events_redacted(
    redactor: ProcessRedactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbidden = "import os\ndef nice(_):\n    raise PermissionError\nos.nice = nice\n"
    (tmp_path / "sitecustomize.py").write_text(forbidden)
    monkeypatch.syspath_prepend(tmp_path)
    redacted, _ = redact(redactor, {"corrected": "mail ann@example.com " + "x" * INLINE_BYTES_MAX})
    assert redacted["corrected"].startswith("mail [email] ")


def test_signals_that_end_the_serving_process_leave_its_captures_to_be_redacted(
    redactor: ProcessRedactor,
) -> None:
    data = {"messages": [f"{LONG} jane@example.com"]}
    redact(redactor, data)
    for process in processes():
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
    assert redact(redactor, data)[0] == {"messages": [f"{LONG} [email]"]}


def test_threads_wait_for_each_other(redactor: ProcessRedactor) -> None:
    redacted: dict[int, Any] = {}

    def redact_number(number: int) -> None:
        data = {"messages": [f"{LONG}{number} jane@example.com"]}
        redacted[number] = redact(redactor, data)[0]["messages"]

    threads = [threading.Thread(target=redact_number, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert redacted == {number: [f"{LONG}{number} [email]"] for number in range(8)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["jane@example.com", "a" * 9]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(value=JSON, name=st.sampled_from(["messages", "author", "target", "value", "name", "secret", "tools"]))
@settings(max_examples=30, deadline=None)
def test_any_json_is_redacted_alike(redactor: ProcessRedactor, value: Any, name: str) -> None:
    data = {"completion": LONG, "agent": "billing", name: value}
    assert json.dumps(redact(redactor, data), sort_keys=True) == json.dumps(
        redact(Redactor(IDENTITY.fingerprint), data), sort_keys=True
    )
