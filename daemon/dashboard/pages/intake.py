"""The page of intake: what was read of each partition, what became of it, and what waits to be sent."""

from collections.abc import Mapping

from starlette.responses import Response

from daemon.commands.broker import broker_away
from daemon.console import CommandFailed
from daemon.dashboard.visit import Visit
from daemon.roles.startup import cluster_of
from feedback.inspection import BrokerAway, extents
from feedback.topics import Topics
from ledger.reports.audit import Place
from ledger.reports.history.partition_fates import partition_fates

BROKER_MS_MAX = 3_000
"""Milliseconds that a page waits for a broker that does not answer."""


def show_intake(visit: Visit) -> Response:
    """Partitions, fates and reasons; with `lag=1` the broker is asked for its end offsets."""
    fates = visit.reports.read("fates", partition_fates)
    ends: Mapping[Place, int] = {}
    trouble = None
    if visit.asked("lag"):
        try:
            ends = visit.reports.cache.get("ends", lambda: _ends(visit))
        except CommandFailed as failure:
            trouble = str(failure)
    document = visit.reports.status()
    return visit.page(
        "intake.html",
        document=document,
        fates=fates,
        ends=ends,
        asked=bool(visit.asked("lag")),
        trouble=trouble,
        roles=visit.reports.roles(),
    )


def _ends(visit: Visit) -> Mapping[Place, int]:
    """The broker's end offsets. Raises `CommandFailed`."""
    topics = Topics()
    cluster = cluster_of(visit.settings, bootstrap_ms_max=BROKER_MS_MAX)
    try:
        partitions = extents(cluster, (topics.feedback, topics.interactions))
    except BrokerAway as away:
        raise broker_away(visit.settings, away) from None
    return {(extent.topic_id, extent.partition): extent.end for extent in partitions}
