"""Checks of the adapter store on this machine: the directory, the right to write, its group."""

import grp
from collections.abc import Iterator
from secrets import token_hex

from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.settings import Settings


def store_checks(settings: Settings) -> CheckGroup:
    """The checks of this machine's store; what replicas see of it belongs to their checks."""
    return CheckGroup(
        name="store",
        checks=(
            HealthCheck(name="directory", run=lambda: _is_there(settings)),
            HealthCheck(name="group", run=lambda: _has_group(settings)),
        ),
    )


def _is_there(settings: Settings) -> Iterator[FoundFault]:
    store = settings.store.path
    if not store.is_dir():
        yield Fault.STORE_MISSING.at(str(store), "there is no such directory")
        return
    probe = store / f".doctor-{token_hex(6)}"
    try:
        probe.write_bytes(b"clorad doctor\n")
        probe.unlink()
    except OSError as fault:
        yield Fault.STORE_UNWRITABLE.at(str(store), f"a file cannot be written there: {fault.strerror}")


def _has_group(settings: Settings) -> Iterator[FoundFault]:
    group = settings.store.group
    if group is None:
        raise Undone("no group is set")
    try:
        entry = grp.getgrgid(int(group)) if group.isdecimal() else grp.getgrnam(group)
    except KeyError:
        yield Fault.STORE_GROUP.at(str(settings.store.path), f"this machine has no group {group[:60]}")
        return
    store = settings.store.path
    if store.is_dir() and store.stat().st_gid != entry.gr_gid:
        yield Fault.STORE_GROUP.at(str(store), f"it does not belong to the group {group[:60]}")
