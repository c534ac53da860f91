"""The dashboard role: web pages for operators. It reads the ledger, and changes it for people with a key."""

import threading
from contextlib import closing

import structlog

from daemon.dashboard.application import Dashboard
from daemon.dashboard.cached_reports import FIRST_WAIT_S_MAX, ReportCache
from daemon.dashboard.reports import Reports
from daemon.dashboard.sessions import Sessions
from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.roles.gateway import limits_of
from daemon.roles.startup import open_ledger
from daemon.setting_checks import is_loopback
from daemon.setting_groups.dashboard import DashboardSettings
from daemon.settings import Settings
from serving.gateway.access.authentication import AuthenticationOptions, Authenticator
from serving.gateway.access.origins import OriginRules
from serving.watched_server import bounded_server, serve_alone

log = structlog.get_logger(__name__)

DRAIN_S_MAX = 5.0
"""Seconds that pages in flight may take after SIGTERM."""


def run(settings: Settings, stopping: threading.Event, health: Health) -> None:
    """Answer requests until told to stop. Raises `RoleRefused` where the port is taken, or open to others."""
    options = settings.dashboard
    if options.access == "open" and not is_loopback(options.host):
        raise RoleRefused(
            f"dashboard.host is {options.host} and dashboard.access is open: anybody could read what people"
            ' wrote. Set dashboard.access = "keys" (`clorad keys create NAME --right read` makes them)'
        )
    with open_ledger(settings, stopping, health) as database:
        cache = ReportCache(first_wait_s=FIRST_WAIT_S_MAX)
        reports = Reports(settings=settings, database=database, cache=cache)
        with closing(cache):
            reports.begin()
            try:
                serve_alone(
                    bounded_server(
                        Dashboard(reports, sessions_of(options, reports)).application(),
                        limits_of(settings.gateway.limits),
                        lifespan="off",
                        drain_s_max=DRAIN_S_MAX,
                    ),
                    host=options.host,
                    port=options.port,
                    stopping=stopping,
                    health=health,
                    loop="dashboard",
                    part="pages",
                )
            except OSError:
                where = f"{options.host}:{options.port}"
                raise RoleRefused(f"dashboard.port: {where} cannot be listened on") from None


def sessions_of(options: DashboardSettings, reports: Reports) -> Sessions:
    """Who may look, by which names."""
    listens_here_only = is_loopback(options.host)
    return Sessions(
        OriginRules(
            checks_host=listens_here_only or options.access == "open" or bool(options.hosts),
            is_loopback=listens_here_only,
            hosts=options.hosts | {options.host.lower()},
            origins=frozenset(),
            server="dashboard",
        ),
        Authenticator(
            AuthenticationOptions(access=options.access, author_header=None, trusted_proxies=()), reports.keys
        ),
        is_open=options.access == "open",
    )
