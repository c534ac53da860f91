"""`clorad dead-letters`: looking at records that could not be used, and sending them once more."""

from collections.abc import Sequence
from typing import Any

from daemon.commands.ledger import opened, reading
from daemon.console import CommandFailed, console, count, fields, harmless, moment, short, show_json, table
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from ledger.events import DeadLetter, Reason
from ledger.intake import dead_letters
from ledger.intake.redrive import Redriven, redrive

BYTES_SHOWN_MAX = 2000


def show_letters(settings: Settings, *, reason: str | None, limit: int, as_json: bool) -> None:
    """Print the newest dead letters."""
    wanted = _reason(reason)
    with reading(settings) as connection:
        found = dead_letters.newest(connection, limit=limit, reason=wanted)
    if as_json:
        show_json([dead_letters.to_json(letter) for letter in found])
        return
    letters = table(">ID", "REASON", "DETAIL", "WHERE", "WHEN", "REDRIVEN")
    for letter in found:
        letters.add_row(
            str(letter.id),
            letter.reason.value,
            short(letter.detail, 60),
            _where(letter),
            moment(letter.received_s),
            moment(letter.redriven_s),
        )
    console().print(letters if found else "no dead letters")


def show_letter(settings: Settings, letter_id: int, *, as_json: bool) -> None:
    """Print one dead letter whole."""
    with reading(settings) as connection:
        letter = dead_letters.read(connection, letter_id)
    if letter is None:
        raise CommandFailed(f"no dead letter {letter_id}")
    if as_json:
        show_json(dead_letters.to_json(letter))
        return
    out = console()
    out.print(
        fields(
            [
                ("reason", f"{letter.reason.value}: {letter.detail}"),
                ("where", f"{letter.topic}[{letter.partition}] offset {letter.offset}"),
                ("when", moment(letter.received_s)),
                ("redriven", moment(letter.redriven_s)),
                *([("forgotten", f"erasure {letter.forgotten}")] if letter.forgotten is not None else []),
                ("key", short(_text(letter.key))),
                *((f"header {short(name, 40)}", short(_text(value))) for name, value in letter.headers),
            ]
        )
    )
    out.print()
    out.print(harmless(_text(letter.value)[:BYTES_SHOWN_MAX]))


def send_again(
    settings: Settings,
    ids: Sequence[int],
    *,
    reason: str | None,
    everything: bool,
    limit: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Owe the chosen letters to their topics again and print what goes; with `dry_run` only print it.

    Raises `CommandFailed` where nothing says which letters are meant, or one that is named is not there.
    """
    wanted = _reason(reason)
    if not (ids or wanted or everything):
        raise CommandFailed(
            "which letters? Name their numbers, or give --reason or --all", code=ExitCode.USAGE
        )
    with opened(settings) as database:
        with database.read() as connection:
            missing = [str(one) for one in ids if dead_letters.read(connection, one) is None]
        if missing:
            raise CommandFailed(f"no dead letter {', '.join(missing)}")
        found = redrive(database, ids=ids, reason=wanted, limit=limit, dry_run=dry_run)
    if as_json:
        show_json({"dry_run": dry_run, "letters": [_redriven_json(one) for one in found]})
    else:
        _render(found, dry_run=dry_run)


def _render(found: Sequence[Redriven], *, dry_run: bool) -> None:
    letters = table(">ID", "REASON", "CAME FROM", "GOES TO", "KEY", ">BYTES", "NOTE")
    for one in found:
        goes = one.record is not None
        letters.add_row(
            str(one.id),
            one.reason.value,
            _where(one.letter),
            one.letter.topic if goes else "–",
            short(_text(one.letter.key), 40) if goes else "–",
            f"{len(one.letter.value or b''):,}" if goes else "–",
            one.kept_back or ("again" if one.letter.redriven_s is not None else ""),
        )
    going = count(sum(one.record is not None for one in found), "letter")
    out = console()
    out.print(letters if found else "no dead letters to redrive")
    if dry_run:
        out.print(f"{going} would go; nothing was changed")
    else:
        out.print(f"{going} owed to Kafka; the fleet role sends them (`clorad status` shows what waits)")


def _redriven_json(redriven: Redriven) -> dict[str, Any]:
    known = {"id": redriven.id, "reason": redriven.reason.value, "kept_back": redriven.kept_back or None}
    if redriven.record is None:
        return {**known, "record": None}
    topic, key, value, headers = redriven.record
    return {**known, "record": {"topic": topic, **dead_letters.record_json(key, value, headers)}}


def _reason(reason: str | None) -> Reason | None:
    try:
        return None if reason is None else Reason(reason)
    except ValueError:
        raise CommandFailed(f"no such reason; there are: {', '.join(Reason)}", code=ExitCode.USAGE) from None


def _where(letter: DeadLetter) -> str:
    return f"{letter.topic}[{letter.partition}] {letter.offset}"


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")
