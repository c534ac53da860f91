"""Checks of the webhooks that tell people: whether each can be reached, and, on request, takes a message."""

import socket
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

from daemon import setting_checks
from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.notices.messages import trial
from daemon.roles.notices import courier_of
from daemon.setting_groups.notify import ReceiverSettings
from daemon.settings import Settings

_PORTS = {"http": 80, "https": 443}


def notice_checks(settings: Settings, *, posts: bool) -> list[CheckGroup]:
    """The checks of the receivers; none where nobody is told. With `posts` each gets a test message."""
    if not settings.notify.receivers:
        return []
    return [
        CheckGroup(
            name="notices",
            checks=(
                HealthCheck(name="settings", run=lambda: _are_private(settings)),
                HealthCheck(name="reached", run=lambda: _are_reached(settings)),
                HealthCheck(name="a test message", run=lambda: _take_a_message(settings, posts=posts)),
            ),
        )
    ]


def _are_private(settings: Settings) -> Iterator[FoundFault]:
    for name, receiver in settings.notify.receivers.items():
        url = urlsplit(receiver.url.get_secret_value())
        if url.scheme == "http" and not setting_checks.is_loopback(url.hostname or ""):
            yield Fault.NOTICE_PLAIN.at(name, "its url begins with http://")
    if settings.dashboard.enabled and settings.dashboard.url is None:
        yield Fault.NO_LINKS.at("dashboard", "notices have no link to the dashboard")


def _are_reached(settings: Settings) -> Iterator[FoundFault]:
    for name, receiver in settings.notify.receivers.items():
        if fault := _fault_of(receiver, settings.notify.timeout_s):
            yield Fault.NOTICE_AWAY.at(name, f"it cannot be reached: {fault}")


def _take_a_message(settings: Settings, *, posts: bool) -> Iterator[FoundFault]:
    if not posts:
        raise Undone("only with --test-notice")
    for name, receiver in settings.notify.receivers.items():
        if _fault_of(receiver, settings.notify.timeout_s):
            continue  # said by the check before
        message = trial(f"msg_test_{uuid.uuid4().hex}", form=receiver.form, now_s=time.time())
        outcome = courier_of(receiver, settings.notify).post(message)
        if not outcome.delivered:
            yield Fault.NOTICE_REFUSED.at(name, f"it does not take a test message: {outcome.reason}")


def _fault_of(receiver: ReceiverSettings, wait_s_max: float) -> str | None:
    """Why nothing listens at its address; None if something does."""
    url = urlsplit(receiver.url.get_secret_value())
    try:
        socket.create_connection(
            (url.hostname or "", url.port or _PORTS[url.scheme]), timeout=wait_s_max
        ).close()
    except (OSError, UnicodeError) as fault:
        return type(fault).__name__
    return None
