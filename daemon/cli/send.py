"""`clorad send`: sends one event of feedback from the shell, as a CloudEvent on Kafka."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.cli.author import this_user
from daemon.cli.context import AsJson, Context, settings_of
from daemon.cli.conversation_files import read_message, read_turns
from daemon.cli.picked_turn import show_turns, turn_of_conversation, turn_of_file
from daemon.exit_codes import ExitCode

app = typer.Typer(
    help="Send one event of feedback to Kafka and wait for the acknowledgement.", no_args_is_help=True
)

_ABOUT = "What the event is about"
_EVENT = "The event itself"

Agent = Annotated[str | None, typer.Option(help="The agent's name.", rich_help_panel=_ABOUT)]
Prompt = Annotated[str | None, typer.Option(help="What the user asked.", rich_help_panel=_ABOUT)]
System = Annotated[str | None, typer.Option(help="System message before it.", rich_help_panel=_ABOUT)]
Interaction = Annotated[
    str | None,
    typer.Option(help="x-clorad-interaction of the answer, in place of texts.", rich_help_panel=_ABOUT),
]
Conversation = Annotated[
    str | None,
    typer.Option(help="The conversation; without --interaction: as it was captured.", rich_help_panel=_ABOUT),
]
Author = Annotated[
    str | None,
    typer.Option(
        help="Who gives the feedback; if not given, the user who runs the command.", rich_help_panel=_EVENT
    ),
]
Source = Annotated[str, typer.Option(help="CloudEvents source.", rich_help_panel=_EVENT)]
Id = Annotated[
    str | None,
    typer.Option("--id", help="CloudEvents id: sent again, it counts once.", rich_help_panel=_EVENT),
]
Key = Annotated[str | None, typer.Option(help="A name for later amendments.", rich_help_panel=_EVENT)]
Revision = Annotated[
    int, typer.Option(help="Revision of that key; the highest counts.", min=1, rich_help_panel=_EVENT)
]
File = Annotated[
    Path | None,
    typer.Option(
        "--file", help="Read the data from a JSON file; - is standard input.", rich_help_panel=_EVENT
    ),
]

MessagesFile = Annotated[
    Path | None,
    typer.Option(
        "--messages",
        help="A conversation as a JSON file: OpenAI messages, or a request with messages and tools.",
        rich_help_panel=_ABOUT,
    ),
]
Turn = Annotated[
    int | None,
    typer.Option(
        help="The agent's turn in --messages or --conversation, from 0; on a terminal you are asked.",
        min=0,
        rich_help_panel=_ABOUT,
    ),
]
CorrectedMessage = Annotated[
    Path | None,
    typer.Option(help="What it should have answered: an assistant message with tool calls, a JSON file."),
]

SOURCE = "clorad-cli"


@app.command()
def correction(
    context: Context,
    agent: Agent = None,
    prompt: Prompt = None,
    system: System = None,
    rejected: Annotated[str | None, typer.Option(help="What the agent answered.")] = None,
    corrected: Annotated[str | None, typer.Option(help="What it should have answered.")] = None,
    corrected_message: CorrectedMessage = None,
    messages: MessagesFile = None,
    turn: Turn = None,
    comment: Annotated[str | None, typer.Option(help="Why.")] = None,
    interaction: Interaction = None,
    conversation: Conversation = None,
    author: Author = None,
    source: Source = SOURCE,
    event_id: Id = None,
    key: Key = None,
    revision: Revision = 1,
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Send the answer that an agent should have given."""
    about = turn_of_file(messages, turn)
    said = about.pop("said", None)
    if not (messages or prompt or interaction or file):
        about = turn_of_conversation(context, agent, conversation, turn, may_be_whole=False)
    data = {
        **about,
        "messages": _messages(system, prompt) or about.get("messages"),
        "rejected": rejected or said,
        "corrected": corrected or read_message(corrected_message, "--corrected-message"),
        "comment": comment,
        **_common(agent, interaction, conversation, author, key, revision),
    }
    _send(context, "correction", data, source, event_id, file, as_json)


@app.command()
def intervention(
    context: Context,
    agent: Agent = None,
    action: Annotated[str | None, typer.Option(help="takeover, override, abort, approve or reject.")] = None,
    prompt: Prompt = None,
    system: System = None,
    said: Annotated[str | None, typer.Option(help="What the agent answered.")] = None,
    corrected: Annotated[str | None, typer.Option(help="What the operator did instead (override).")] = None,
    corrected_message: CorrectedMessage = None,
    messages: MessagesFile = None,
    turn: Turn = None,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    interaction: Interaction = None,
    conversation: Conversation = None,
    author: Author = None,
    source: Source = SOURCE,
    event_id: Id = None,
    key: Key = None,
    revision: Revision = 1,
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Send that a person intervened, or approved the answer. A takeover needs --file for its turns."""
    about = turn_of_file(messages, turn)
    if not (messages or prompt or interaction or file):
        whole = action not in ("takeover", "override")
        about = turn_of_conversation(context, agent, conversation, turn, may_be_whole=whole)
    data = {
        **about,
        "action": action,
        "messages": _messages(system, prompt) or about.get("messages"),
        "said": said or about.get("said"),
        "corrected": corrected or read_message(corrected_message, "--corrected-message"),
        "reason": reason,
        **_common(agent, interaction, conversation, author, key, revision),
    }
    _send(context, "intervention", data, source, event_id, file, as_json)


@app.command()
def outcome(
    context: Context,
    agent: Agent = None,
    value: Annotated[float | None, typer.Option(help="From -1 to 1.")] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            help="final: it is about the last turn; all: about every turn, the default of a conversation."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="The task that was tried; alone, it names the conversation.")
    ] = None,
    prompt: Prompt = None,
    system: System = None,
    said: Annotated[str | None, typer.Option(help="What the agent answered.")] = None,
    amends: Annotated[
        str | None, typer.Option(help="Key of the event that this one adds to or replaces.")
    ] = None,
    interaction: Interaction = None,
    conversation: Conversation = None,
    author: Author = None,
    source: Source = SOURCE,
    event_id: Id = None,
    key: Key = None,
    revision: Revision = 1,
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Send a number for how something ended."""
    data = {
        "value": value,
        "scope": scope,
        "task": task,
        "messages": _messages(system, prompt),
        "said": said,
        "amends": amends,
        **_common(agent, interaction, conversation, author, key, revision),
    }
    _send(context, "outcome", data, source, event_id, file, as_json)


@app.command()
def retraction(
    context: Context,
    event: Annotated[str, typer.Argument(help="SOURCE#ID of the event to retract.")],
    agent: Agent = None,
    author: Author = None,
    event_id: Id = None,
    as_json: AsJson = False,
) -> None:
    """Retract an earlier event, under its own source."""
    from daemon.console import CommandFailed

    source, sign, target = event.rpartition("#")
    if not sign or not source or not target:
        raise CommandFailed("an event is named SOURCE#ID", code=ExitCode.USAGE)
    data = {"target": {"source": source, "id": target}, **_common(agent, None, None, author, None, 1)}
    _send(context, "retraction", data, source, event_id, None, as_json)


@app.command()
def turns(
    file: Annotated[Path, typer.Argument(help="A conversation as a JSON file, as --messages takes it.")],
) -> None:
    """Show a conversation with the numbers of the agent's turns, for --turn. Nothing is sent."""
    show_turns(read_turns(file))


def _messages(system: str | None, prompt: str | None) -> list[dict[str, str]] | None:
    if prompt is None:
        return None
    before = [] if system is None else [{"role": "system", "content": system}]
    return [*before, {"role": "user", "content": prompt}]


def _common(
    agent: str | None,
    interaction: str | None,
    conversation: str | None,
    author: str | None,
    key: str | None,
    revision: int,
) -> dict[str, Any]:
    return {
        "agent": agent,
        "author": author,
        "interaction": interaction,
        "conversation": conversation,
        "key": key,
        "revision": revision if revision != 1 else None,
    }


def _send(
    context: Context,
    kind: str,
    given: Mapping[str, Any],
    source: str,
    event_id: str | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Send the event. Options override the file; if neither names an author, it is the user of this
    process."""
    from daemon.commands import broker
    from daemon.console import show_json

    data = {**_read(file), **{name: value for name, value in given.items() if value is not None}}
    data.setdefault("author", this_user())
    sent = broker.send(settings_of(context), kind, data, source=source, event_id=event_id)
    if as_json:
        show_json(sent)
    else:
        typer.echo(
            f"{sent['uid']} is safe in {sent['topic']}[{sent['partition']}] at offset {sent['offset']}"
        )


def _read(file: Path | None) -> dict[str, Any]:
    import json

    from daemon.console import CommandFailed

    if file is None:
        return {}
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        data = json.loads(text)
    except OSError as fault:
        raise CommandFailed(
            f"--file: {fault.strerror or type(fault).__name__}: {file.name}", code=ExitCode.USAGE
        ) from None
    except ValueError:
        raise CommandFailed("--file: not JSON", code=ExitCode.USAGE) from None
    if not isinstance(data, dict):
        raise CommandFailed("--file: must hold one JSON object, the event's data", code=ExitCode.USAGE)
    return data
