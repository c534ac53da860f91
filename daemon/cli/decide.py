"""Commands by which a person decides about versions, agents and events, and takes back what was decided."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from daemon.cli.author import this_user
from daemon.cli.context import NUMBER_MAX, AsJson, Context, settings_of
from daemon.exit_codes import ExitCode

Reference = Annotated[str, typer.Argument(metavar="AGENT@vN", help="As in billing@v7.")]
EventUid = Annotated[str, typer.Argument(metavar="EVENT", help="SOURCE#ID, or a bare id.")]
DecisionReason = Annotated[str, typer.Option(help="Kept with the decision.")]
EventReason = Annotated[str, typer.Option(help="Kept with the event.")]
By = Annotated[str | None, typer.Option(help="Who decides; the user running this if not given.")]


contested = typer.Typer(help="What people disagree about.", no_args_is_help=True)


def add_to(app: typer.Typer, *, act: str) -> None:
    """Register these commands under their heading in the help."""
    app.add_typer(contested, name="contested", rich_help_panel=act)
    for command in (promote, refuse, hold, resume, retract, restore, undo):
        app.command(rich_help_panel=act)(command)


def promote(
    context: Context,
    version: Reference,
    reason: DecisionReason = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let a version serve now: one that waits for a person, a canary, or one that was refused or rolled back.

    The last kind needs --reason; `clorad rollback` takes it back. It also goes through while the agent is on
    hold.
    """
    from daemon.commands.acting import deciding

    done = deciding.promote(settings_of(context), version, by=by or this_user(), reason=reason)
    sentence = f"{done['agent']}: {done['version']} is promoted as soon as the replicas hold it"
    for event in done.get("not_following", ()):
        sentence += f"\nit was taught with {event['event']}, which stays {event['status']}"
    _show(done, sentence, as_json=as_json)


def refuse(
    context: Context,
    version: Reference,
    reason: DecisionReason = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a version that has no verdict yet; the agent learns on from its events."""
    from daemon.commands.acting import deciding

    _require_reason(reason)
    done = deciding.refuse(settings_of(context), version, by=by or this_user(), reason=reason)
    _show(
        done,
        f"{done['agent']}: {done['version']} is refused; gateways follow within a second",
        as_json=as_json,
    )


def hold(
    context: Context,
    agent: str,
    reason: Annotated[str, typer.Option(help="Kept with the hold.")] = "",
    by: By = None,
) -> None:
    """Promote no version of this agent, and give no canary a larger share, until `clorad resume`."""
    from daemon.commands.acting import deciding

    _require_reason(reason)
    is_new = deciding.hold(settings_of(context), agent, by=by or this_user(), reason=reason)
    typer.echo(f"{agent} is on hold" if is_new else f"{agent} was on hold already")


def resume(context: Context, agent: str, by: By = None) -> None:
    """End the hold of this agent."""
    from daemon.commands.acting import deciding

    was_held = deciding.resume(settings_of(context), agent, by=by or this_user())
    typer.echo(f"{agent} goes on" if was_held else f"{agent} was not on hold")


def retract(
    context: Context, event: EventUid, reason: EventReason = "", by: By = None, as_json: AsJson = False
) -> None:
    """Take anybody's event back: it is neither trained on nor judged by any more."""
    from daemon.commands.acting import withdrawn

    _require_reason(reason)
    done = withdrawn.retract(settings_of(context), event, by=by or this_user(), reason=reason)
    _show(done, f"{done['event']} is retracted{_then(done)}", as_json=as_json)


def restore(
    context: Context, event: EventUid, reason: EventReason = "", by: By = None, as_json: AsJson = False
) -> None:
    """Let an event count again that was retracted, amended, reverted or held; what withdrew it is undone."""
    from daemon.commands.acting import withdrawn

    _require_reason(reason)
    done = withdrawn.restore(settings_of(context), event, by=by or this_user(), reason=reason)
    against = f"; undone: {', '.join(done['changed'])}" if done["changed"] else ""
    _show(done, f"{done['event']} counts again{against}{_then(done)}", as_json=as_json)


def undo(
    context: Context,
    number: Annotated[int, typer.Argument(metavar="DECISION", help="As in a receipt.", max=NUMBER_MAX)],
    reason: EventReason = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Take back what was decided about an event: a settlement, a retraction, a restoration, an undo."""
    from daemon.commands.acting import withdrawn

    _require_reason(reason)
    done = withdrawn.undo(settings_of(context), number, by=by or this_user(), reason=reason)
    changed = ", ".join((done["event"], *done["changed"]))
    _show(done, f"decision {number} is undone; as before: {changed}{_then(done)}", as_json=as_json)


def _then(done: Mapping[str, Any]) -> str:
    """How to undo it, and which versions learned from what counts no more."""
    taught = [version for affected in done["taught"] for version in affected["serving"]]
    back = [affected["go_back"] for affected in done["taught"] if affected["go_back"]]
    learned = (
        f"\n{', '.join(taught)} learned from it and serves; to go back: {'; '.join(back)}" if back else ""
    )
    return f" (decision {done['id']}; `clorad undo {done['id']}` takes it back){learned}"


def _show(done: Mapping[str, Any], sentence: str, *, as_json: bool) -> None:
    from daemon.console import show_json

    if as_json:
        show_json(done)
    else:
        typer.echo(sentence)


def _require_reason(reason: str) -> None:
    from daemon.console import CommandFailed

    if not reason.strip():
        raise CommandFailed("--reason is kept with the decision: say why", code=ExitCode.USAGE)


@contested.command("list")
def contested_list(
    context: Context,
    agent: Annotated[str | None, typer.Option(help="Of this agent only.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most, the newest.", min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List contested events: what each wants, and what others want."""
    from daemon.commands.acting import contested as commands

    commands.show(settings_of(context), agent=agent, limit=limit, as_json=as_json)


@contested.command("settle")
def contested_settle(
    context: Context,
    event: EventUid,
    reason: EventReason = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let an event count, also without a second person; what contradicts it on the same prompt does not."""
    from daemon.commands.acting import contested as commands

    _require_reason(reason)
    done = commands.settle(settings_of(context), event, by=by or this_user(), reason=reason)
    _show(
        done, f"{done['event']} counts from now on, against {len(done['superseded'])} others", as_json=as_json
    )


@contested.command("retract")
def contested_retract(
    context: Context,
    event: EventUid,
    reason: EventReason = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Take a contested event back: it is trained on no more."""
    from daemon.commands.acting import contested as commands

    _require_reason(reason)
    done = commands.retract(settings_of(context), event, by=by or this_user(), reason=reason)
    _show(done, f"{done['event']} is retracted", as_json=as_json)
