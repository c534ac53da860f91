"""`clorad dead-letters`: shows records that could not be used, and sends them again."""

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
    chosen_reason = _reason(reason)
    with reading(settings) as connection:
        letters = dead_letters.newest(connection, limit=limit, reason=chosen_reason)
    if as_json:
        show_json([dead_letters.to_json(letter) for letter in letters])
        return
    rows = table(">ID", "REASON", "DETAIL", "WHERE", "WHEN", "REDRIVEN")
    for letter in letters:
        rows.add_row(
            str(letter.id),
            letter.reason.value,
            short(letter.detail, 60),
            _where(letter),
            moment(letter.received_s),
            moment(letter.redriven_s),
        )
    console().print(rows if letters else "no dead letters")


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
                *([("by", letter.redriven_by)] if letter.redriven_by is not None else []),
                *([("why", short(letter.redriven_why))] if letter.redriven_why is not None else []),
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
    by: str,
    as_json: bool,
) -> None:
    """Put the chosen letters into the outbox and print them; with `dry_run` only print them.

    Raises `CommandFailed` if no option chooses letters, or a letter in `ids` does not exist.
    """
    chosen_reason = _reason(reason)
    if not (ids or chosen_reason or everything):
        raise CommandFailed(
            "which letters? Name their numbers, or give --reason or --all", code=ExitCode.USAGE
        )
    with opened(settings) as database:
        with database.read() as connection:
            missing = [str(number) for number in ids if dead_letters.read(connection, number) is None]
        if missing:
            raise CommandFailed(f"no dead letter {', '.join(missing)}")
        chosen = redrive(database, ids=ids, reason=chosen_reason, limit=limit, dry_run=dry_run, by=by)
    if as_json:
        show_json({"dry_run": dry_run, "letters": [_redriven_json(redriven) for redriven in chosen]})
    else:
        _render(chosen, dry_run=dry_run)


def redrive_letter(settings: Settings, number: int, *, by: str, reason: str) -> None:
    """Put one letter that was never sent again into the outbox. Raises `CommandFailed`."""
    with opened(settings) as database:
        with database.read() as connection:
            letter = dead_letters.read(connection, number)
        if letter is None:
            raise CommandFailed(f"no dead letter {number}")
        if letter.redriven_s is not None:
            raise CommandFailed(f"dead letter {number} was sent again meanwhile")
        [chosen] = redrive(database, ids=[number], by=by, why=reason)
    if chosen.record is None:
        raise CommandFailed(f"dead letter {number} is not sent again: {chosen.kept_back}")


def _render(chosen: Sequence[Redriven], *, dry_run: bool) -> None:
    rows = table(">ID", "REASON", "CAME FROM", "GOES TO", "KEY", ">BYTES", "NOTE")
    for redriven in chosen:
        is_sent = redriven.record is not None
        rows.add_row(
            str(redriven.id),
            redriven.reason.value,
            _where(redriven.letter),
            redriven.letter.topic if is_sent else "–",
            short(_text(redriven.letter.key), 40) if is_sent else "–",
            f"{len(redriven.letter.value or b''):,}" if is_sent else "–",
            redriven.kept_back or ("again" if redriven.letter.redriven_s is not None else ""),
        )
    sent = count(sum(redriven.record is not None for redriven in chosen), "letter")
    out = console()
    out.print(rows if chosen else "no dead letters to redrive")
    if dry_run:
        out.print(f"{sent} would go; nothing was changed")
    else:
        out.print(f"{sent} owed to Kafka; the fleet role sends them (`clorad status` shows how many wait)")


def _redriven_json(redriven: Redriven) -> dict[str, Any]:
    document = {"id": redriven.id, "reason": redriven.reason.value, "kept_back": redriven.kept_back or None}
    if redriven.record is None:
        return {**document, "record": None}
    topic, key, value, headers = redriven.record
    return {**document, "record": {"topic": topic, **dead_letters.record_json(key, value, headers)}}


def _reason(reason: str | None) -> Reason | None:
    try:
        return None if reason is None else Reason(reason)
    except ValueError:
        raise CommandFailed(f"no such reason; there are: {', '.join(Reason)}", code=ExitCode.USAGE) from None


def _where(letter: DeadLetter) -> str:
    return f"{letter.topic}[{letter.partition}] {letter.offset}"


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")
