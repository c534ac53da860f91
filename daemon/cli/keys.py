"""`clorad keys`: who may talk to the gateway, and what each may do."""

from typing import Annotated

import typer

from daemon.cli.author import this_user
from daemon.cli.context import AsJson, Context, settings_of
from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode
from ledger.access.rights import USUAL_RIGHTS, Right

app = typer.Typer(
    help="Who may talk to the gateway: make keys, list, replace and revoke them.", no_args_is_help=True
)


KeyId = Annotated[str, typer.Argument(metavar="ID", help="Of the key: the part after `clorad_`.")]
By = Annotated[str | None, typer.Option(help="Who decides; the user running this if not given.")]


@app.command("create")
def create(
    context: Context,
    name: Annotated[str, typer.Argument(help="Who holds it: the author of feedback sent with it.")],
    agent: Annotated[
        list[str] | None, typer.Option(help="An agent it opens; repeatable. All if not given.")
    ] = None,
    right: Annotated[
        list[Right] | None,
        typer.Option(
            help="What it allows; repeatable. talk and feedback if not given."
            " act: on other people's events; judge: its author's word needs nobody else's."
        ),
    ] = None,
    concurrency_max: Annotated[
        int | None, typer.Option(help="Requests at once, at each gateway.", min=1, max=100_000)
    ] = None,
    requests_per_minute_max: Annotated[
        int | None, typer.Option(help="Requests a minute, at each gateway.", min=1, max=100_000)
    ] = None,
    days: Annotated[float | None, typer.Option(help="Until it expires; never if not given.", min=0)] = None,
    another: Annotated[
        bool, typer.Option("--another", help="Also where the name has a key: both are one author.")
    ] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once; the ledger has only a hash of it."""
    from daemon.commands.access import keys

    keys.create(
        settings_of(context),
        name,
        agents=agent,
        rights=frozenset(right) if right else USUAL_RIGHTS,
        concurrency_max=concurrency_max,
        requests_per_minute_max=requests_per_minute_max,
        days=days,
        another=another,
        by=by or this_user(),
        as_json=as_json,
    )


@app.command("list")
def list_keys(
    context: Context,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that expired or were revoked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The keys that open something, with what each allows; never the keys themselves."""
    from daemon.commands.access import keys

    keys.show(settings_of(context), everything=everything, as_json=as_json)


@app.command("rotate")
def rotate(
    context: Context,
    key_id: KeyId,
    hours: Annotated[float, typer.Option(help="The old key lives so long; 0: no longer.", min=0)] = 24.0,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Make a key with the same name, rights and limits in place of this one."""
    from daemon.commands.access import keys

    keys.rotate(settings_of(context), key_id, hours=hours, by=by or this_user(), as_json=as_json)


@app.command("revoke")
def revoke(
    context: Context,
    key_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Of the key: the part after `clorad_`.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="All keys of this name instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Close a key for good; gateways refuse it within seconds. What was sent with it stays."""
    if (key_id is None) == (name is None):
        raise CommandFailed("say which: one ID, or --name for all keys of a name", code=ExitCode.USAGE)
    from daemon.commands.access import keys

    keys.revoke(settings_of(context), key_id=key_id, name=name, as_json=as_json)
