"""Reads conversations and assistant messages from JSON files, in the forms that OpenAI's API has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.exit_codes import ExitCode


def read_message(file: Path | None, option: str) -> dict[str, Any] | None:
    """The assistant message in a file: the message itself, or a whole answer of the API with one choice.

    None where there is no file. Raises `CommandFailed`.
    """
    if file is None:
        return None
    content = _read_json(file, option)
    choices = content.get("choices") if isinstance(content, dict) else None
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        content = choices[0].get("message")
    if not isinstance(content, dict) or content.get("role") != "assistant":
        raise _refused(option, "must hold one assistant message, or an answer with one choice")
    return content


def read_conversation(file: Path, *, turn: int | None) -> dict[str, Any]:
    """The fields of an event about one turn of the agent in a conversation: `messages`, `said`, tools.

    The file has a list of messages, or a request with `messages`. `turn` counts the agent's turns from 0;
    without it, it is the last message if that is the agent's, and else the prompt is the whole conversation.
    Raises `CommandFailed`.
    """
    request = _request_in(file, "--messages")
    messages = request["messages"]
    places = turns_of(messages)
    if turn is None and places[-1:] == [len(messages) - 1]:
        turn = len(places) - 1
    data = {name: request[name] for name in ("tools", "chat_template_kwargs") if request.get(name)}
    if turn is None:
        return data | {"messages": messages}
    if turn >= len(places):
        raise _refused("--turn", f"the conversation has {len(places)} turns of the agent, counted from 0")
    return data | {"messages": messages[: places[turn]], "said": messages[places[turn]]}


def turns_of(messages: list[dict[str, Any]]) -> list[int]:
    """The places of the agent's turns."""
    return [place for place, message in enumerate(messages) if message.get("role") == "assistant"]


def read_turns(file: Path) -> list[tuple[int | None, str, str]]:
    """Each message as the number of the agent's turn (None: not the agent's), the role, and what it says."""
    from rewards.replies import reply_text

    messages = _request_in(file, "FILE")["messages"]
    numbers = {place: number for number, place in enumerate(turns_of(messages))}
    return [
        (numbers.get(place), str(message.get("role")), reply_text(message))
        for place, message in enumerate(messages)
    ]


def _read_json(file: Path, option: str) -> Any:
    """The JSON value in a file. Raises `CommandFailed`, which names no content."""
    import json

    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as fault:
        raise _refused(option, f"{fault.strerror or type(fault).__name__}: {file.name}") from None
    except ValueError:
        raise _refused(option, "not JSON") from None


def _request_in(file: Path, option: str) -> Mapping[str, Any]:
    content = _read_json(file, option)
    request = {"messages": content} if isinstance(content, list) else content
    messages = request.get("messages") if isinstance(request, dict) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise _refused(option, "must hold a list of messages, or a request with messages")
    return dict(request)


def _refused(option: str, why: str) -> Exception:
    from daemon.console import CommandFailed

    return CommandFailed(f"{option}: {why}", code=ExitCode.USAGE)
