"""The command line: every command and its options; `daemon.commands` does the work.

Nothing heavy is imported here: `clorad --help` and `clorad status` must answer at once, and only commands
that speak to Kafka or train may load a Kafka client or torch.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from daemon import __version__
from daemon.cli import bridge, decide, experiment, feeding, keys, operate, send, setup, versions
from daemon.cli.author import this_user
from daemon.cli.context import NUMBER_MAX, AsJson, Context, settings_of
from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode
from daemon.masking import mask
from ledger.errors import LedgerRefused, LedgerUnavailable
from ledger.versions.gate_modes import GateMode
from serving.scoring.scorers import SCORERS

if TYPE_CHECKING:
    from daemon.settings import Settings

app = typer.Typer(
    name="clorad",
    help="Train LoRA adapters on corrections from Kafka, judge them, and serve the better ones with vLLM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
agents = typer.Typer(help="List the agents, or declare one.", invoke_without_command=True)

_RUN, _ASK, _ACT = "Run", "Ask", "Act"


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"clorad {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
]
SupervisorPid = Annotated[int | None, typer.Option("--supervisor-pid", hidden=True)]


def main() -> None:
    """Run the command line. A refusal prints one line on standard error, and the exit code gives its kind."""
    os.umask(0o077)  # what roles and commands write holds people's texts, and keys
    try:
        app(args=config_first(sys.argv[1:]))
    except CommandFailed as failure:
        _refuse(str(failure), failure.code)
    except LedgerUnavailable as fault:
        _refuse(f"the ledger is unavailable ({fault}); see ledger.url", ExitCode.TRY_AGAIN)
    except LedgerRefused as refusal:
        _refuse(str(refusal), ExitCode.CHANGE_NEEDED)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


@app.callback()
def options(
    context: Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file; clorad.toml here if there is one.")
    ] = None,
    version: Version = False,  # noqa: ARG001 - Typer has called `_print_version` before
) -> None:
    """Options before the command."""
    sys.excepthook = _print_fault  # not in `main`, because Typer sets its own when it is called
    context.obj = config


@app.command(rich_help_panel=_RUN)
def run(
    context: Context,
    without: Annotated[list[str] | None, typer.Option("--without", help="A role not to start.")] = None,
) -> None:
    """Run all roles on this machine until a signal stops them, and restart a role that ends."""
    from daemon.commands.running import run_all

    sys.exit(run_all(settings_of(context), context.obj, without=tuple(without or ())))


@app.command(rich_help_panel=_RUN)
def intake(context: Context, supervisor_pid: SupervisorPid = None) -> None:
    """Role: read feedback from Kafka and store it in the ledger."""
    _run_role("intake", context, supervisor_pid)


@app.command(rich_help_panel=_RUN)
def learner(context: Context, supervisor_pid: SupervisorPid = None) -> None:
    """Role: train the agents that are due."""
    _run_role("learner", context, supervisor_pid)


@app.command(rich_help_panel=_RUN)
def fleet(context: Context, supervisor_pid: SupervisorPid = None) -> None:
    """Role: judge versions and make every replica serve what the ledger wants."""
    _run_role("fleet", context, supervisor_pid)


@app.command(rich_help_panel=_RUN)
def gateway(context: Context, supervisor_pid: SupervisorPid = None) -> None:
    """Role: answer users through the OpenAI API, with each agent's champion."""
    _run_role("gateway", context, supervisor_pid)


@app.command(rich_help_panel=_RUN)
def dashboard(context: Context, supervisor_pid: SupervisorPid = None) -> None:
    """Role: show operators what agents learned, and let those with a key decide, in a browser."""
    _run_role("dashboard", context, supervisor_pid)


@app.command(rich_help_panel=_ASK)
def status(
    context: Context,
    as_json: AsJson = False,
    lag: Annotated[
        bool, typer.Option("--lag", help="Ask the broker how many records intake has not read.")
    ] = False,
) -> None:
    """Show which version each agent serves, its backlog, its last decision, and what needs a person."""
    from daemon.commands import status

    status.show(settings_of(context), as_json=as_json, lag=lag)


@agents.callback()
def agents_listed(context: Context, as_json: AsJson = False) -> None:
    """List the agents and their settings."""
    if context.invoked_subcommand is None:
        _list_agents(context, as_json)


@agents.command("list")
def agents_list(context: Context, as_json: AsJson = False) -> None:
    """List the agents and their settings."""
    _list_agents(context, as_json)


@agents.command("add")
def agents_add(
    context: Context,
    name: Annotated[str, typer.Argument(help="The name under which it is served.")],
    scorer: Annotated[
        str, typer.Option(help=f"How the gate compares answers: {', '.join(SCORERS)}.")
    ] = "auto",
    capture: Annotated[bool, typer.Option("--capture", help="Store its interactions.")] = False,
    weight: Annotated[float, typer.Option(help="Share of training when several are due.", min=1e-6)] = 1.0,
    tokens_per_hour_max: Annotated[
        int | None, typer.Option(help="Training tokens an hour after which no turn starts.", min=1)
    ] = None,
    canary_share: Annotated[
        float | None,
        typer.Option(help="Of the conversations, in a version's first step; 0: all at once.", min=0, max=0.5),
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="A person must promote its versions.")] = False,
    gate: Annotated[GateMode, typer.Option(help="By what its versions are judged.")] = GateMode.CORRECTIONS,
    recipe: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, as in rank=8; repeatable.")] = None,
) -> None:
    """Declare an agent on the configured base, or bring its settings up to date."""
    from daemon.commands import agents

    typer.echo(
        agents.add(
            settings_of(context),
            name,
            scorer=scorer,
            capture=capture,
            weight=weight,
            tokens_per_hour_max=tokens_per_hour_max,
            canary_share=canary_share,
            confirm=confirm,
            gate=gate,
            recipe=recipe or (),
        )
    )


@app.command(rich_help_panel=_ASK)
def why(
    context: Context,
    version: Annotated[str, typer.Argument(help="AGENT@vN or AGENT@vN-HASH.")],
    as_json: AsJson = False,
) -> None:
    """Show where a version comes from: events, people, verdict with numbers, and how to undo it."""
    from daemon.commands import versions

    versions.show_why(settings_of(context), version, as_json=as_json)


@app.command(rich_help_panel=_ASK)
def receipt(
    context: Context,
    event: Annotated[str, typer.Argument(help="SOURCE#ID, or the id alone.")],
    as_json: AsJson = False,
) -> None:
    """Show what one event of feedback changed, or why it changed nothing."""
    from daemon.commands import receipts

    receipts.show_receipt(settings_of(context), event, as_json=as_json)


@app.command(rich_help_panel=_ACT)
def rollback(
    context: Context,
    agent: str,
    to: Annotated[
        int | None, typer.Option(help="Version number; the predecessor if not given.", min=0, max=NUMBER_MAX)
    ] = None,
    reason: Annotated[str, typer.Option(help="Stored with the decision.")] = "",
    by: Annotated[
        str | None, typer.Option(help="Who decides; if not given, the user who runs the command.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve an earlier version again, and hold the events that the withdrawn versions were taught."""
    from daemon.commands import versions
    from daemon.console import show_json

    rollback = versions.roll_back(settings_of(context), agent, to=to, by=by or this_user(), reason=reason)
    if as_json:
        show_json(rollback)
    else:
        typer.echo(
            f"{agent} goes back from {rollback['from']} to {rollback['to']}; gateways follow within a second"
        )


app.add_typer(agents, name="agents", rich_help_panel=_ASK)
app.add_typer(versions.app, name="versions", rich_help_panel=_ASK)
app.add_typer(send.app, name="send", rich_help_panel=_ACT)
app.add_typer(bridge.app, name="bridge", rich_help_panel=_ACT)
app.add_typer(experiment.app, name="experiment", rich_help_panel=_ACT)
app.add_typer(keys.app, name="keys", rich_help_panel="Set up")
feeding.add_to(app, act=_ACT)
decide.add_to(app, act=_ACT)
setup.add_to(app, set_up="Set up")
operate.add_to(app, ask=_ASK, act=_ACT, set_up="Set up")


def config_first(arguments: Sequence[str]) -> list[str]:
    """The same arguments with `--config FILE` before the command: people write it at either end."""
    config: list[str] = []
    others: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            return [*config, *others, argument, *remaining]
        if argument == "--config":
            config += [argument, *([file] if (file := next(remaining, None)) is not None else [])]
        else:
            (config if argument.startswith("--config=") else others).append(argument)
    return [*config, *others]


def _list_agents(context: Context, as_json: bool) -> None:
    from daemon.commands import agents

    agents.show(settings_of(context), as_json=as_json)


def _run_role(name: str, context: Context, supervisor_pid: int | None) -> None:
    from daemon.process.role_process import die_with

    if supervisor_pid is not None:
        die_with(supervisor_pid)
    settings: Settings = settings_of(context)
    from daemon.commands.running import run_one

    if name == "dashboard":  # it shows what the commands say, so no command can import it
        from daemon.dashboard.role import run

        sys.exit(run_one(name, settings, run))
    sys.exit(run_one(name, settings))


def _print_fault(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """Print an unexpected exception as Python does, with secrets masked."""
    sys.stderr.write(mask("".join(traceback.format_exception(kind, fault, trace))))


def _refuse(reason: str, code: ExitCode) -> None:
    sys.stderr.write(f"clorad: {' '.join(mask(reason).split())}\n")
    sys.exit(code)
