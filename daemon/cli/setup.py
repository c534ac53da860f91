"""Commands that set an installation up and examine it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from daemon.cli.context import AsJson, Context, settings_of
from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode

if TYPE_CHECKING:
    from daemon.commands.setup.settings_text import FirstSettings

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


def add_to(app: typer.Typer, *, set_up: str) -> None:
    """Register these commands under their heading in the help."""
    app.command("init", rich_help_panel=set_up)(init)
    app.command("doctor", rich_help_panel=set_up)(doctor)


def init(
    context: Context,
    brokers: Annotated[str | None, typer.Option(help="Kafka: host:port, or several with commas.")] = None,
    security_protocol: Annotated[
        Protocol | None, typer.Option(help="How Kafka is reached; PLAINTEXT if not given.")
    ] = None,
    sasl_mechanism: Annotated[Mechanism | None, typer.Option(help="With SASL: how we log in.")] = None,
    sasl_user: Annotated[
        str | None,
        typer.Option(help="With SASL: the user. Password: CLORAD_KAFKA__OPTIONS__SASL_PLAIN_PASSWORD."),
    ] = None,
    ssl_cafile: Annotated[
        Path | None, typer.Option(help="With TLS: who signed the brokers' certificates.")
    ] = None,
    replica: Annotated[
        list[str] | None, typer.Option(help="URL of a vLLM server; repeat it for several.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Directory of the base; the replica's own if it is on this machine.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Name of the first agent.")] = None,
    authors_min: Annotated[
        int | None, typer.Option(help="People who must correct alike; 1: a team of one.", min=1)
    ] = None,
    capture: Annotated[
        bool,
        typer.Option(help="Store the agent's conversations: what nobody objects to shows what is right."),
    ] = True,
    partitions: Annotated[int, typer.Option(help="Of each new topic.", min=1)] = 6,
    replication: Annotated[
        int | None, typer.Option(help="Copies of each record; one for each broker, three at most.", min=1)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: flags and defaults.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a settings file.")] = False,
) -> None:
    """Set clorad up here: write clorad.toml, make the topics on Kafka, the ledger and the adapter store.

    It asks for what no option says. What is there already stays as it is, and the file is written last.
    """
    from daemon.commands.setup import init
    from daemon.commands.setup.questions import SetupQuestions

    if not yes and not sys.stdin.isatty():
        raise CommandFailed("there is no terminal to ask on: give --yes and the options", ExitCode.USAGE)
    given: dict[str, str | None] = {
        "security_protocol": security_protocol,
        "sasl_mechanism": sasl_mechanism,
        "sasl_plain_username": sasl_user,
        "ssl_cafile": None if ssl_cafile is None else str(ssl_cafile.expanduser().resolve()),
    }
    first: FirstSettings = SetupQuestions(asks=not yes).first_settings(
        brokers=brokers,
        kafka_options={name: value for name, value in given.items() if value is not None},
        replicas=tuple(replica or ()),
        base=base,
        agent=agent,
        authors_min=authors_min,
        capture=capture,
    )
    init.initialise(first, context.obj, partitions=partitions, replication=replication, force=force)


def doctor(
    context: Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without the engine's self-test, which takes a minute.")
    ] = False,
    test_notice: Annotated[
        bool, typer.Option("--test-notice", help="Send a test message to each of notify.receivers.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine Kafka, ledger, store, base, replicas, keys, agents and webhooks: what is wrong, and what to do.

    It writes nothing but an empty adapter, which every replica loads and unloads. The exit code is 1 if there
    is an error, and 0 where there are warnings only.
    """
    from daemon.commands.setup import doctor

    doctor.show(settings_of(context), context.obj, quick=quick, test_notice=test_notice, as_json=as_json)
