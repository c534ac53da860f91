"""`clorad keys`: make, show, replace and revoke the keys of the gateway's clients."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from daemon.commands.ledger import opened, reading
from daemon.console import CommandFailed, ago, console, count, joined, lasting, moment, show_json, table
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from ledger.access.key_text import KeyText, read_key_id
from ledger.access.keys import (
    AccessKey,
    KeyRefused,
    all_keys,
    create_key,
    revoke_keys,
    rotate_key,
)
from ledger.access.rights import Grant, Right

_HOUR_S, _DAY_S = 3600.0, 86_400.0


def create(
    settings: Settings,
    name: str,
    *,
    agents: Sequence[str] | None,
    rights: frozenset[Right],
    concurrency_max: int | None,
    requests_per_minute_max: int | None,
    days: float | None,
    another: bool,
    by: str,
    as_json: bool,
) -> None:
    """Make a key and print it: the only time that anybody sees it."""
    grant = Grant(
        name=name,
        agents=None if not agents else frozenset(agents),
        rights=rights,
        concurrency_max=concurrency_max,
        requests_per_minute_max=requests_per_minute_max,
    )
    with opened(settings) as database:
        try:
            key, text = create_key(
                database,
                grant,
                by=by,
                lifetime_s=None if days is None else days * _DAY_S,
                another=another,
            )
        except KeyRefused as refusal:
            raise CommandFailed(str(refusal)) from None
    _show_new(key, text, as_json=as_json)


def show(settings: Settings, *, everything: bool, as_json: bool) -> None:
    """Print the keys: those that are live, or every key there ever was."""
    with reading(settings) as connection:
        keys = all_keys(connection)
    now = time.time()
    shown = [key for key in keys if everything or key.is_live(now)]
    if as_json:
        show_json([_document(key) for key in shown])
    elif not shown:
        console().print("no keys yet: `clorad keys create NAME` makes one")
    else:
        _render(shown, now)


def rotate(settings: Settings, key_id: str, *, hours: float, by: str, as_json: bool) -> None:
    """Make the successor of a key and print it."""
    with opened(settings) as database:
        try:
            key, text = rotate_key(database, _id_of(key_id), by=by, overlap_s=hours * _HOUR_S)
        except KeyRefused as refusal:
            raise CommandFailed(str(refusal)) from None
    _show_new(key, text, as_json=as_json)
    if not as_json:
        end = f"in {lasting(hours * _HOUR_S)}" if hours > 0 else "now"
        sys.stderr.write(f"the key before it, {key.replaces}, expires {end} at the latest\n")


def revoke(settings: Settings, *, key_id: str | None, name: str | None, as_json: bool) -> None:
    """Revoke one key, or all of a name, and print how many were closed."""
    with opened(settings) as database:
        try:
            revoked = revoke_keys(database, key_id=None if key_id is None else _id_of(key_id), name=name)
        except KeyRefused as refusal:
            raise CommandFailed(str(refusal)) from None
    if as_json:
        show_json([_document(key) for key in revoked])
    else:
        ids = joined([f"{key.id} ({key.grant.name})" for key in revoked], "none was open")
        console().print(f"{count(len(revoked), 'key')} revoked: {ids}; gateways refuse them within seconds")


def _id_of(given: str) -> str:
    key_id = read_key_id(given)
    if key_id is None:  # it may be a secret: it is not repeated
        raise CommandFailed(
            "a key's id has twelve hexadecimal digits; see `clorad keys list`", ExitCode.USAGE
        )
    return key_id


def _show_new(key: AccessKey, text: KeyText, *, as_json: bool) -> None:
    """The key alone on standard output, so that it can be piped to where it belongs."""
    if as_json:
        show_json({**_document(key), "key": text.text})
        return
    until = "until it is revoked" if key.expires_s is None else f"until {moment(key.expires_s)}"
    sys.stderr.write(f"key {key.id} of {key.grant.name}, {until}; it is shown this once:\n")
    sys.stdout.write(f"{text.text}\n")


def _render(keys: Sequence[AccessKey], now: float) -> None:
    rows = table("ID", "NAME", "AGENTS", "RIGHTS", ">AT ONCE", ">A MINUTE", "MADE", "BY", "STATE")
    for key in keys:
        grant = key.grant
        rows.add_row(
            key.id,
            grant.name,
            "all" if grant.agents is None else joined(sorted(grant.agents)),
            joined([right.value for right in Right if right in grant.rights]),
            _limit(grant.concurrency_max),
            _limit(grant.requests_per_minute_max),
            ago(key.created_s, now),
            key.created_by,
            _state(key, now),
        )
    console().print(rows)


def _state(key: AccessKey, now: float) -> str:
    if key.revoked_s is not None:
        return f"revoked {ago(key.revoked_s, now)}"
    if key.expires_s is None:
        return "open"
    if key.is_live(now):
        return f"expires in {lasting(key.expires_s - now)}"
    return f"expired {ago(key.expires_s, now)}"


def _limit(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _document(key: AccessKey) -> dict[str, Any]:
    grant = key.grant
    return {
        "id": key.id,
        "name": grant.name,
        "agents": None if grant.agents is None else sorted(grant.agents),
        "rights": [right.value for right in Right if right in grant.rights],
        "concurrency_max": grant.concurrency_max,
        "requests_per_minute_max": grant.requests_per_minute_max,
        "created_s": key.created_s,
        "created_by": key.created_by,
        "expires_s": key.expires_s,
        "revoked_s": key.revoked_s,
        "replaces": key.replaces,
    }
