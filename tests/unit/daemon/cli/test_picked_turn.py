"""Which turn an event is about: given, or picked by a person on a terminal."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.cli.picked_turn import turn_of_conversation, turn_of_file
from daemon.console import CommandFailed
from ledger.database import Database
from tests.unit.daemon.conftest import Clorad
from tests.unit.ledger.event_builder import INTERACTIONS, build_interaction, keep
from tests.unit.ledger.ledger_builder import build_ledger

TALK = [
    {"role": "user", "content": "bolts?"},
    {"role": "assistant", "content": "Three."},
    {"role": "user", "content": "nuts?"},
    {"role": "assistant", "content": "None."},
]


class Terminal(io.StringIO):
    """One direction of a terminal."""

    def isatty(self) -> bool:
        return True


class Invocation:
    """What a command knows of how it was called: no settings file."""

    obj = None


@pytest.fixture
def ledger(tmp_path: Path, clorad: Clorad) -> Database:
    """A ledger with one captured conversation, in the directory of the command."""
    opened = build_ledger(tmp_path / "clorad.db", "billing")
    messages = (TALK[0], *TALK[1:3])
    turns = [
        build_interaction("t0", conversation="talk", messages=(TALK[0],), completion="Three."),
        build_interaction("t1", conversation="talk", messages=messages, completion="None."),
    ]
    keep(opened, *turns, partition=INTERACTIONS)
    opened.close()
    return opened


def at_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> Terminal:
    """The screen of a terminal at which somebody has typed this."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys, "stdout", screen)
    return screen


def talk_file(folder: Path) -> Path:
    file = folder / "talk.json"
    file.write_text(json.dumps(TALK))
    return file


def test_a_person_picks_a_turn_of_the_conversation_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = at_terminal(monkeypatch, "7\nx\n0\n")
    about = turn_of_file(talk_file(tmp_path), None)
    assert (about["messages"], about["said"]) == (TALK[:1], TALK[1])
    assert screen.getvalue().splitlines()[1].split() == ["0", "assistant", "Three."]


def test_without_a_terminal_the_turn_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="--turn: the conversation has 2 turns"):
        turn_of_file(talk_file(tmp_path), None)
    assert turn_of_file(talk_file(tmp_path), 1)["said"] == TALK[3]
    assert turn_of_file(None, None) == {}


def pick(conversation: str = "talk", *, whole: bool) -> dict[str, Any]:
    context: Any = Invocation()
    return turn_of_conversation(context, "billing", conversation, None, may_be_whole=whole)


def test_a_person_picks_a_captured_turn_or_the_whole_conversation(
    ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = at_terminal(monkeypatch, "1\n")
    assert pick(whole=False) == {"turn": 1}
    shown = [" ".join(line.split()) for line in screen.getvalue().splitlines()]
    assert shown[:4] == ["user bolts?", "0 assistant Three.", "user nuts?", "1 assistant None."]
    at_terminal(monkeypatch, "\n")
    assert pick(whole=True) == {}
    assert pick("another", whole=True) == {}, "nothing of it is captured, so it is about all of it"
    with pytest.raises(CommandFailed, match="nothing of that conversation"):
        pick("another", whole=False)


def test_a_turn_is_of_a_file_or_of_a_conversation() -> None:
    context: Any = Invocation()
    with pytest.raises(CommandFailed, match="needs --messages or --conversation"):
        turn_of_conversation(context, "billing", None, 0, may_be_whole=True)
    with pytest.raises(CommandFailed, match="say which turn"):
        pick(whole=False)
    assert pick(whole=True) == {}
