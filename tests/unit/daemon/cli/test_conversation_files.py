"""`clorad send` takes conversations and messages with tool calls from files."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.conversation_files import read_conversation, read_message, read_turns
from daemon.console import CommandFailed
from tests.unit.daemon.conftest import Clorad

CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "stock", "arguments": "{}"}}],
}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "You help."},
    {"role": "user", "content": "bolts?"},
    CALL,
    {"role": "tool", "tool_call_id": "c1", "content": "3"},
    {"role": "assistant", "content": "Three."},
]
TOOLS = [{"type": "function", "function": {"name": "stock"}}]


def written(folder: Path, content: Any) -> Path:
    file = folder / "talk.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.mark.parametrize(
    ("talk", "turn", "messages", "said"),
    [
        (TALK, 0, TALK[:2], CALL),
        (TALK, 1, TALK[:4], TALK[4]),
        (TALK, None, TALK[:4], TALK[4]),
        (TALK[:4], None, TALK[:4], None),
    ],
)
def test_a_turn_of_a_conversation_is_the_prompt_and_what_was_said(
    tmp_path: Path, talk: Any, turn: int | None, messages: Any, said: Any
) -> None:
    data = read_conversation(written(tmp_path, talk), turn=turn)
    assert (data["messages"], data.get("said")) == (messages, said)


def test_a_request_brings_its_tools(tmp_path: Path) -> None:
    request = {"model": "m", "messages": TALK, "tools": TOOLS, "chat_template_kwargs": {"a": 1}, "seed": 1}
    data = read_conversation(written(tmp_path, request), turn=0)
    assert sorted(data) == ["chat_template_kwargs", "messages", "said", "tools"]


@pytest.mark.parametrize("content", [CALL, {"choices": [{"index": 0, "message": CALL}]}])
def test_a_message_may_come_in_an_answer(tmp_path: Path, content: Any) -> None:
    assert read_message(written(tmp_path, content), "--corrected-message") == CALL


@pytest.mark.parametrize(
    ("content", "turn", "complaint"),
    [
        ("{", None, "--messages: not JSON"),
        ([], None, "--messages: must hold a list of messages"),
        ({"messages": ["x"]}, None, "--messages: must hold a list of messages"),
        (TALK, 2, "--turn: the conversation has 2 turns"),
    ],
)
def test_a_file_in_another_form_is_refused(
    tmp_path: Path, content: Any, turn: int | None, complaint: str
) -> None:
    with pytest.raises(CommandFailed, match=complaint):
        read_conversation(written(tmp_path, content), turn=turn)


def test_a_message_of_somebody_else_is_refused(tmp_path: Path) -> None:
    for content in (TALK[1], {"choices": []}, [CALL], {"choices": [{"message": CALL}] * 2}):
        with pytest.raises(CommandFailed, match="--corrected-message: must hold one assistant message"):
            read_message(written(tmp_path, content), "--corrected-message")


def test_the_agents_turns_are_numbered(tmp_path: Path, clorad: Clorad) -> None:
    file = written(tmp_path, TALK)
    assert [number for number, _, _ in read_turns(file)] == [None, None, 0, None, 1]
    lines = clorad("send", "turns", str(file)).out.splitlines()
    assert lines[2].split() == ["0", "assistant", '[{"name":', '"stock",', '"arguments":', "{}}]"]
    assert lines[3].split() == ["tool", "3"]


def test_what_a_file_lacks_is_named_before_anything_is_sent(tmp_path: Path, clorad: Clorad) -> None:
    talk, wanted = str(written(tmp_path, TALK)), tmp_path / "wanted.json"
    broken = {"name": "stock", "arguments": "{"}
    wanted.write_text(json.dumps({**CALL, "tool_calls": [{"function": broken}]}))
    about = ("--agent", "billing", "--messages", talk, "--turn", "0")
    sent = clorad("send", "correction", *about, "--corrected-message", str(wanted))
    assert (sent.code, "arguments: no JSON object" in sent.err) == (2, True)
    assert "corrected" in clorad("send", "correction", *about).err
    assert "--turn: needs --messages or --conversation" in clorad("send", "intervention", "--turn", "0").err
