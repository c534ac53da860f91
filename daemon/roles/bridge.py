"""The bridge: takes annotations of other tools, and sends what they say to Kafka. It needs no ledger."""

import threading
from contextlib import ExitStack

import structlog

from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.roles.gateway import access_of, limits_of
from daemon.setting_groups.bridges import ToolSettings
from daemon.settings import Settings
from daemon.signers import sending_key
from feedback.bridges.annotation import ToolOptions
from feedback.bridges.delivery import Delivery
from feedback.bridges.journal import SentJournal
from feedback.client import KAFKA_SCHEME, Feedback
from serving.bridges.receiver import run_receiver
from serving.bridges.webhook import FORMS, Webhook

log = structlog.get_logger(__name__)


def run(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Take annotations until told to stop.

    Raises `RoleRefused` where there are no tools, or a port, a directory or Kafka's options cannot be used.
    """
    bridges = settings.bridges
    if not bridges.tools:
        raise RoleRefused("bridges.tools: no tool is set up (deploy/RUNBOOK.md)")
    with ExitStack() as stack:
        feedback = stack.enter_context(feedback_of(settings))
        webhooks = {}
        for name, tool in bridges.tools.items():
            delivery = _delivery(name, tool, settings, feedback, stack)
            webhooks[name] = _webhook(name, tool, settings, delivery)
            log.info("bridge opened", bridge=name, tool=tool.kind)
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
            raise RoleRefused(f"bridges.port: {bridges.host}:{bridges.port} cannot be listened on") from None


def feedback_of(settings: Settings) -> Feedback:
    """The client that sends what people say in other tools, signed with `feedback.sign_as`.

    No right goes with it: the signer's are not those of everybody who annotates. Raises `RoleRefused`.
    """
    try:
        return Feedback(
            f"{KAFKA_SCHEME}{settings.kafka.bootstrap_servers}",
            signing_key=sending_key(settings.feedback),
            kafka_options=settings.kafka.options,
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


def _delivery(
    name: str, tool: ToolSettings, settings: Settings, feedback: Feedback, stack: ExitStack
) -> Delivery:
    path = settings.bridges.path / f"{name}.jsonl"
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
