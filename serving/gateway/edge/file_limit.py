"""Makes sure that the operating system lets the gateway open the connections that its limits allow.

A process without a free file descriptor accepts nobody, and cannot say so: not even on `/healthz`.
"""

import resource
from dataclasses import replace

import structlog

from serving.gateway.edge.connections import RESERVED
from serving.gateway.edge.limits import GatewayLimits

log = structlog.get_logger(__name__)

OTHER_FILES = 128
"""Descriptors for the ledger, Kafka, the health port, the collector, logs and Python itself."""


def fit_to_file_limit(limits: GatewayLimits) -> GatewayLimits:
    """Raise the process's limit of open files (RLIMIT_NOFILE) as far as needed and allowed.

    Returns the limits, with fewer connections and requests where the hard limit is too low for them.
    """
    needed = _files_for(limits)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed >= needed:
        return limits
    share = max(0, allowed - OTHER_FILES - RESERVED) / (needed - OTHER_FILES - RESERVED)
    fitting = replace(
        limits,
        connections_max=max(1, int(limits.connections_max * share)),
        requests_max=max(1, int(limits.requests_max * share)),
    )
    log.warning(
        "fewer connections than the settings allow: the limit of open files is too low",
        open_files=allowed,
        needed=needed,
        connections=fitting.connections_max,
        requests=fitting.requests_max,
    )
    return fitting


def _files_for(limits: GatewayLimits) -> int:
    return limits.connections_max + limits.requests_max + RESERVED + OTHER_FILES
