"""Checks of who may come: the gateway's openness and its keys, and the health ports."""

from collections.abc import Iterator

from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.doctor.ledger_checks import ledger_of
from daemon.roles.gateway import openness_fault
from daemon.setting_checks import is_loopback
from daemon.settings import Settings
from ledger.access.keys import all_keys


def access_checks(settings: Settings, *, now_s: float) -> CheckGroup:
    """The checks of the gateway's and the health ports' doors."""
    return CheckGroup(
        name="access",
        checks=(
            HealthCheck(name="openness", run=lambda: _is_closed(settings)),
            HealthCheck(name="keys", run=lambda: _has_keys(settings, now_s)),
            HealthCheck(name="health ports", run=lambda: _is_health_closed(settings)),
        ),
    )


def _is_closed(settings: Settings) -> Iterator[FoundFault]:
    gateway = settings.gateway
    where = f"{gateway.host}:{gateway.port}"
    if openness_fault(gateway) is not None:
        yield Fault.GATEWAY_OPEN.at(
            where, "the gateway would be open to other machines: it does not start so"
        )
    elif gateway.access == "open" and not is_loopback(gateway.host):
        yield Fault.GATEWAY_OPENED.at(where, "whoever reaches the gateway may ask, and teach in any name")


def _has_keys(settings: Settings, now_s: float) -> Iterator[FoundFault]:
    if settings.gateway.access != "keys":
        raise Undone("the gateway asks for no keys")
    with ledger_of(settings) as database, database.read() as connection:
        keys = all_keys(connection)
    live = {key.grant.name for key in keys if key.is_live(now_s)}
    if not live:
        yield Fault.NO_KEY.at("gateway.access", "the gateway asks for keys, and no key opens it")
    for key in keys:
        if key.revoked_s is None and not key.is_live(now_s) and key.grant.name not in live:
            yield Fault.KEY_EXPIRED.at(f"key {key.id}", "it has expired, and its holder has no other")


def _is_health_closed(settings: Settings) -> Iterator[FoundFault]:
    telemetry = settings.telemetry
    if not telemetry.health_port:
        raise Undone("no health ports are set")
    if not is_loopback(telemetry.health_host) and telemetry.token is None:
        yield Fault.HEALTH_OPEN.at(
            f"{telemetry.health_host}:{telemetry.health_port}",
            "metrics and reasons are open to other machines",
        )
