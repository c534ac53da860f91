"""The bridge: takes annotations of other tools, and sends what they say to Kafka.

It needs no ledger, unless it takes webhooks of git repositories: replies are in the ledger.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import structlog

from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.roles.gateway import access_of, limits_of
from daemon.roles.git_webhooks import git_webhooks
from daemon.setting_groups.bridges import CALLING, ToolSettings
from daemon.settings import Settings
from daemon.signers import sending_key, why_not_believed
from feedback.bridges.annotation import ToolOptions, source_of
from feedback.bridges.delivery import Delivery
from feedback.bridges.journal import SUFFIX, SentJournal
from feedback.bridges.polling import PolledTool, poll_until
from feedback.bridges.tool_client import ToolClient
from feedback.bridges.tools.langfuse import LangfuseScores
from feedback.bridges.tools.mlflow import EXPERIMENT, MlflowAssessments
from feedback.bridges.tools.phoenix import PROJECT, PhoenixAnnotations
from feedback.client import KAFKA_SCHEME, Feedback
from serving.bridges.receiver import WebhookAnswer, run_receiver
from serving.bridges.webhook import FORMS, Webhook

log = structlog.get_logger(__name__)

SEND_S_MAX = 30.0
"""Seconds of all tries of one event: a poller must report within a minute that it goes on."""


def run(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Take annotations until told to stop.

    Raises `RoleRefused` where there are no tools, or a port, a directory or Kafka's options cannot be used.
    """
    bridges = settings.bridges
    if not bridges.tools and not settings.git.repositories:
        raise RoleRefused("bridges.tools, git.repositories: none is set up (deploy/RUNBOOK.md)")
    for name in bridges.tools:
        if (why := why_not_believed(settings.feedback, source_of(name))) is not None:
            raise RoleRefused(why)
    with ExitStack() as stack:
        feedback = stack.enter_context(feedback_of(settings))
        webhooks: dict[str, WebhookAnswer] = {}
        pollers: list[Callable[[], None]] = []
        if settings.git.repositories:
            git, scans = stack.enter_context(git_webhooks(settings))
            webhooks |= git
            pollers.append(partial(scans.run, stopping))
        for name, tool in bridges.tools.items():
            delivery = _delivery(name, tool, settings, feedback, stack)
            if tool.kind in CALLING:
                webhooks[name] = _webhook(name, tool, settings, delivery)
            else:
                polled = polled_tool(name, tool, stack)
                pollers.append(
                    partial(
                        poll_until,
                        polled,
                        delivery,
                        stopping,
                        health,
                        kind=tool.kind,
                        name=name,
                        poll_s=tool.poll_s,
                        days=tool.days,
                    )
                )
            log.info("bridge opened", bridge=name, tool=tool.kind)
        with ThreadPoolExecutor(max_workers=max(1, len(pollers)), thread_name_prefix="poller") as pool:
            running = [pool.submit(_end_with, poller, stopping) for poller in pollers]
            try:
                run_receiver(
                    webhooks,
                    host=bridges.host,
                    port=bridges.port,
                    limits=limits_of(settings.gateway.limits),
                    access=access_of(settings.gateway),
                    stopping=stopping,
                    health=health,
                )
            except OSError:
                why = f"{bridges.host}:{bridges.port} cannot be listened on"
                raise RoleRefused(f"bridges.port: {why}") from None
            finally:
                stopping.set()
        for poller in running:
            poller.result()


def feedback_of(settings: Settings) -> Feedback:
    """The client that sends what people say in other tools, signed with `feedback.sign_as`.

    No right goes with it: the signer's are not those of everybody who annotates. Raises `RoleRefused`.
    """
    try:
        return Feedback(
            f"{KAFKA_SCHEME}{settings.kafka.bootstrap_servers}",
            signing_key=sending_key(settings.feedback),
            kafka_options=settings.kafka.options,
            wait_s_max=SEND_S_MAX,
        )
    except ValueError as refusal:
        raise RoleRefused(f"kafka.options: {refusal}") from None


def tool_options(name: str, tool: ToolSettings) -> ToolOptions:
    """The settings of a tool that say how its annotations are read."""
    return ToolOptions(
        name=name,
        agent=tool.agent,
        author=tool.author,
        people=tool.people,
        names=tool.names,
        good=tool.good,
        bad=tool.bad,
        score_min=tool.score_min,
        score_max=tool.score_max,
    )


def polled_tool(name: str, tool: ToolSettings, stack: ExitStack) -> PolledTool:
    """What asks the tool's API; its client is closed with `stack`."""
    assert tool.url is not None, "settings are checked"
    client = ToolClient(tool.url, user=tool.user, key=tool.key.get_secret_value() if tool.key else None)
    stack.callback(client.close)
    options = tool_options(name, tool)
    match tool.kind:
        case "langfuse":
            return LangfuseScores(client, options)
        case "phoenix":
            return PhoenixAnnotations(client, options, tool.project or PROJECT)
        case _:
            return MlflowAssessments(client, options, tool.project or EXPERIMENT)


def _delivery(
    name: str, tool: ToolSettings, settings: Settings, feedback: Feedback, stack: ExitStack
) -> Delivery:
    path = settings.bridges.path / f"{name}{SUFFIX}"
    try:
        journal = stack.enter_context(SentJournal(path))
    except OSError as fault:
        raise RoleRefused(f"bridges.path: {path}: {fault.strerror or type(fault).__name__}") from None
    return Delivery(tool.kind, tool_options(name, tool), journal, feedback.send)


def _webhook(name: str, tool: ToolSettings, settings: Settings, delivery: Delivery) -> Webhook:
    assert tool.secret is not None, "settings are checked"
    verify, read = FORMS[tool.kind]
    return Webhook(
        options=tool_options(name, tool),
        verify=verify(tool.secret.get_secret_value()),
        read=read,
        delivery=delivery,
        limits=limits_of(settings.gateway.limits),
    )


def _end_with(poller: Callable[[], None], stopping: threading.Event) -> None:
    """Poll; a poller that fails ends the role."""
    try:
        poller()
    finally:
        stopping.set()
