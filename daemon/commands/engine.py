"""`clorad engine selftest` and `replay`: check that the engine works here and that it can repeat a pass."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from daemon.commands.ledger import opened
from daemon.console import CommandFailed, console, count, show_json, table
from daemon.learning.engine_loading import EngineRefused, load_engine, prepare_torch
from daemon.settings import Settings
from daemon.terminal.progress import working
from ledger.learning.passes import read_pass

if TYPE_CHECKING:
    from daemon.learning.replay import ReplayedTurn
    from engine.selftest import Check


def show_selftest(
    settings: Settings, *, device: str | None = None, dtype: str | None = None, as_json: bool
) -> None:
    """Check every promise of the engine on the configured base, with another device or dtype if given.

    Raises `CommandFailed` if the engine breaks a promise, or if it cannot be loaded.
    """
    configured = settings.engine
    try:
        prepare_torch(configured.base)
    except EngineRefused as refusal:
        raise CommandFailed(f"nothing can be tried: {refusal}") from None
    from engine.selftest import selftest  # loads torch

    options: dict[str, Any] = {
        "device": device or configured.device,
        "dtype": dtype or configured.dtype,
        "threads": configured.threads,
    }
    try:
        with working("checking the engine on this base"):
            checks = selftest(configured.base, **options)
    except (ValueError, OSError) as refusal:
        raise CommandFailed(f"the base at {configured.base} cannot be tried: {refusal}") from None
    show(checks, {"base": str(configured.base), **options}, as_json=as_json)


def show(checks: Sequence["Check"], options: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the checks. Raises `CommandFailed` if the engine breaks a promise."""
    broken = [check for check in checks if not check.kept]
    if as_json:
        show_json({"kept": not broken, **options, "checks": [asdict(check) for check in checks]})
    else:
        rows = table("PROMISE", "", ">SECONDS", "FOUND")
        for check in checks:
            result = Text("kept", style="green") if check.kept else Text("BROKEN", style="red")
            rows.add_row(check.promise, result, f"{check.seconds:.1f}", check.detail)
        console().print(rows)
    if broken:
        raise CommandFailed(f"the engine breaks {count(len(broken), 'promise')} here; do not train with it")


def show_replay(settings: Settings, pass_id: int, *, as_json: bool) -> None:
    """Train a recorded pass again and print both hashes. Raises `CommandFailed` if they differ."""
    replayed = _replay(settings, pass_id)
    same = all(turn.same for turn in replayed)
    if as_json:
        turns = [
            {
                "agent": turn.agent,
                "version": turn.number,
                "recorded": turn.recorded,
                "again": turn.again,
                "same": turn.same,
                "note": turn.note,
            }
            for turn in replayed
        ]
        show_json({"pass": pass_id, "same": same, "turns": turns})
    else:
        rows = table("AGENT", ">VERSION", "RECORDED", "AGAIN", "")
        for turn in replayed:
            result = Text("same", style="green") if turn.same else Text("DIFFERENT", style="red")
            hashes = ((turn.recorded or "none")[:16], (turn.again or "none")[:16])
            rows.add_row(turn.agent, f"v{turn.number}", *hashes, result)
        console().print(rows)
    if not same:
        raise CommandFailed(f"pass {pass_id} gave other adapters this time")


def _replay(settings: Settings, pass_id: int) -> "Sequence[ReplayedTurn]":
    """Train a recorded pass again. Raises `CommandFailed` if it cannot be trained here."""
    with opened(settings) as database:
        with database.read() as connection:
            recorded = read_pass(connection, pass_id)
        if recorded is None:
            raise CommandFailed(f"no pass {pass_id}")
        if (source := recorded.form.get("adopted")) is not None:
            raise CommandFailed(f"pass {pass_id} trained nothing: {source} was adopted in it")
        try:
            with working(f"training pass {pass_id} again"):
                engine = load_engine(settings.engine)
                from daemon.learning.replay import replay  # loads torch

                return replay(database, engine, settings.store.path, recorded)
        except (EngineRefused, OSError) as refusal:
            raise CommandFailed(f"pass {pass_id} cannot be repeated here: {refusal}") from None
