"""`clorad engine selftest`: whether the engine keeps its promises with this base, on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from daemon.console import CommandFailed, console, count, show_json, table
from daemon.learning.engine_loading import EngineRefused, prepare_torch
from daemon.settings import Settings

if TYPE_CHECKING:
    from engine.selftest import Check


def show_selftest(
    settings: Settings, *, device: str | None = None, dtype: str | None = None, as_json: bool
) -> None:
    """Try every promise on the configured base, on another device or in another dtype if so asked.

    Raises `CommandFailed` where one is broken, or none could be tried.
    """
    own = settings.engine
    try:
        prepare_torch(own.base)
    except EngineRefused as refusal:
        raise CommandFailed(f"nothing can be tried: {refusal}") from None
    from engine.selftest import selftest

    on: dict[str, Any] = {"device": device or own.device, "dtype": dtype or own.dtype, "threads": own.threads}
    try:
        checks = selftest(own.base, **on)
    except (ValueError, OSError) as refusal:
        raise CommandFailed(f"the base at {own.base} cannot be tried: {refusal}") from None
    show(checks, {"base": str(own.base), **on}, as_json=as_json)


def show(checks: Sequence["Check"], on: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what was found. Raises `CommandFailed` where a promise is broken."""
    broken = [check for check in checks if not check.kept]
    if as_json:
        show_json({"kept": not broken, **on, "checks": [asdict(check) for check in checks]})
    else:
        rows = table("PROMISE", "", ">SECONDS", "FOUND")
        for check in checks:
            told = Text("kept", style="green") if check.kept else Text("BROKEN", style="red")
            rows.add_row(check.promise, told, f"{check.seconds:.1f}", check.found)
        console().print(rows)
    if broken:
        raise CommandFailed(f"the engine breaks {count(len(broken), 'promise')} here; do not train with it")
