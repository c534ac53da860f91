"""Says which turn of a conversation an event is about: by `--turn`, or as a person picks it on a terminal."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from daemon.cli.context import Context, settings_of
from daemon.cli.conversation_files import read_conversation, read_turns
from daemon.exit_codes import ExitCode

Line = tuple[int | None, str, str]


def turn_of_file(file: Path | None, turn: int | None) -> dict[str, Any]:
    """The fields of an event about one turn of the conversation in `--messages`; none without a file.

    Raises `CommandFailed` where there are several turns, `--turn` is not given, and nobody can be asked.
    """
    if file is None:
        return {}
    lines = read_turns(file)
    if turn is None and len(_numbers(lines)) > 1:
        turn = _picked(lines, may_be_whole=False)
    return read_conversation(file, turn=turn)


def turn_of_conversation(
    context: Context, agent: str | None, conversation: str | None, turn: int | None, *, may_be_whole: bool
) -> dict[str, Any]:
    """The field `turn` of an event about a captured conversation; nothing where it is about all of it.

    On a terminal a person picks the turn from the ledger. Raises `CommandFailed` as `turn_of_file` does.
    """
    if conversation is None:
        if turn is not None:
            raise _refused("needs --messages or --conversation")
        return {}
    if turn is None and agent is not None and _is_terminal():
        from daemon.commands.conversations.captured import captured_turns

        lines = captured_turns(settings_of(context), agent, conversation)
        if lines:
            turn = _picked(lines, may_be_whole=may_be_whole)
        elif not may_be_whole:
            raise _refused(f"nothing of that conversation of {agent} is captured")
        return {} if turn is None else {"turn": turn}
    if turn is None and not may_be_whole:
        raise _refused("say which turn of the conversation it is about, counted from 0")
    return {} if turn is None else {"turn": turn}


def show_turns(lines: Sequence[Line]) -> None:
    """Print a conversation with the numbers of the agent's turns."""
    from daemon.console import short

    for number, role, text in lines:
        typer.echo(f"{'' if number is None else number:>3}  {role:<9}  {short(text)}")


def _picked(lines: Sequence[Line], *, may_be_whole: bool) -> int | None:
    """The turn that a person picks; None: the whole conversation."""
    numbers = _numbers(lines)
    if not _is_terminal():
        raise _refused(f"the conversation has {len(numbers)} turns of the agent: say which, counted from 0")
    show_turns(lines)
    question = "Which turn is it about?" + (" (all: the whole conversation)" if may_be_whole else "")
    while True:
        answer = typer.prompt(question, default="all" if may_be_whole else None, prompt_suffix=" ", err=True)
        if may_be_whole and answer == "all":
            return None
        if answer.isdecimal() and int(answer) in numbers:
            return int(answer)
        typer.echo(f"one of {', '.join(map(str, numbers))}", err=True)


def _numbers(lines: Sequence[Line]) -> list[int]:
    return [number for number, _, _ in lines if number is not None]


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _refused(why: str) -> Exception:
    from daemon.console import CommandFailed

    return CommandFailed(f"--turn: {why}", code=ExitCode.USAGE)
