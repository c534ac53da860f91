"""`clorad audit` and `replay`: asking whether what was written down is true."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from daemon.commands.forgetting import erasure_json, erasure_line
from daemon.commands.ledger import opened
from daemon.console import CommandFailed, console, show_json, table
from daemon.learning.engine_loading import EngineRefused, warm_engine
from daemon.settings import Settings
from ledger.database import Database
from ledger.learning.turns import read_pass
from ledger.reports.audit import Audit, Disagreement, PartitionAudit, against, audit, recount
from ledger.upkeep.erasures import all_erasures

if TYPE_CHECKING:
    from daemon.learning.replay import Replayed
    from feedback.inspection import Extent


def show_audit(settings: Settings, *, verify: bool, offline: bool, as_json: bool) -> None:
    """Print whether every offset has one disposition. Raises `CommandFailed` where anything disagrees.

    `verify` reads the topics again; `offline` does not ask the broker even where they end.
    """
    from daemon.commands import broker

    with opened(settings) as database:
        found = checked(
            database,
            None if offline else lambda: _extents(settings),
            (lambda extent, start, end: broker.offsets(settings, extent, start=start, end=end))
            if verify
            else None,
        )
        with database.read() as connection:
            forgotten = all_erasures(connection)
    disagreements = found.disagreements
    if as_json:
        told = _json(found, disagreements, asked=not offline, verified=verify)
        show_json({**told, "erasures": [erasure_json(one) for one in forgotten]})
    else:
        _render(found, disagreements, console(), asked=not offline, verified=verify)
        for one in forgotten:
            console().print(erasure_line(one))
    if disagreements:
        raise CommandFailed(f"the audit disagrees in {len(disagreements)} places")


def checked(
    database: Database,
    ask: "Callable[[], Sequence[Extent]] | None",
    read_again: "Callable[[Extent, int, int], Iterable[int]] | None" = None,
) -> Audit:
    """The ledger against itself, then against the broker's logs (`ask`), then their records (`read_again`).

    The order is the point: events stream in meanwhile, and what a log holds is only then comparable with
    what the ledger has read if the ledger was read first. All of it is about the ledger at that moment.
    """
    with database.read() as connection:
        found = audit(connection)
    extents = ask() if ask is not None else ()
    found = against(found, {(one.topic_id, one.partition): one.end for one in extents})
    read = {(one.topic_id, one.partition): one for one in found.partitions}
    again: tuple[Disagreement, ...] = ()
    for extent in extents if read_again is not None else ():
        one = read.get((extent.topic_id, extent.partition))
        if one is not None and read_again is not None and one.next_offset > extent.first:
            offsets = read_again(extent, one.began, one.next_offset)
            place = (one.topic_id, one.partition)
            with database.read() as connection:
                again += recount(connection, place, offsets, first=extent.first, end=one.next_offset)
    unread = (_never_read(one) for one in extents if (one.topic_id, one.partition) not in read)
    return Audit(partitions=(*found.partitions, *unread), disagreements=(*found.disagreements, *again))


def _never_read(extent: "Extent") -> PartitionAudit:
    """A partition that the broker has and no intake was ever given: all of it is still to be read."""
    return PartitionAudit(
        topic=extent.topic,
        topic_id=extent.topic_id,
        partition=extent.partition,
        began=extent.first,
        next_offset=extent.first,
        end_offset=extent.end,
        records=0,
        stored=0,
        dead=0,
        duplicates=0,
        holes=0,
        given_up=0,
    )


def show_replay(settings: Settings, pass_id: int, *, as_json: bool) -> None:
    """Train a recorded pass again and print both hashes. Raises `CommandFailed` where they differ."""
    found = _replayed(settings, pass_id)
    same = all(one.same for one in found)
    if as_json:
        turns = [
            {
                "agent": one.agent,
                "version": one.number,
                "recorded": one.recorded,
                "again": one.again,
                "same": one.same,
                "note": one.note,
            }
            for one in found
        ]
        show_json({"pass": pass_id, "same": same, "turns": turns})
    else:
        out, rows = console(), table("AGENT", ">VERSION", "RECORDED", "AGAIN", "")
        for one in found:
            equal = Text("same", style="green") if one.same else Text("DIFFERENT", style="red")
            rows.add_row(
                one.agent, f"v{one.number}", (one.recorded or "none")[:16], (one.again or "none")[:16], equal
            )
        out.print(rows)
    if not same:
        raise CommandFailed(f"pass {pass_id} gave other adapters this time")


def _replayed(settings: Settings, pass_id: int) -> "Sequence[Replayed]":
    """The turns of a recorded pass, then and now. Raises `CommandFailed` where it cannot be trained here."""
    with opened(settings) as database:
        with database.read() as connection:
            recorded = read_pass(connection, pass_id)
        if recorded is None:
            raise CommandFailed(f"no pass {pass_id}")
        try:
            engine = warm_engine(settings.engine)
            from daemon.learning.replay import replay  # loads torch

            return replay(database, engine, settings.store.path, recorded)
        except (EngineRefused, OSError) as refusal:
            raise CommandFailed(f"pass {pass_id} cannot be repeated here: {refusal}") from None


def _extents(settings: Settings) -> "tuple[Extent, ...]":
    from daemon.commands import broker

    try:
        return broker.extents(settings)
    except CommandFailed as away:
        raise CommandFailed(f"{away}; --offline audits the ledger alone", code=away.code) from None


def _render(
    found: Audit, disagreements: tuple[Disagreement, ...], out: Console, *, asked: bool, verified: bool
) -> None:
    rows = table(
        "TOPIC",
        ">PARTITION",
        ">FROM",
        ">TO",
        ">RECORDS",
        ">STORED",
        ">DEAD",
        ">DUPLICATES",
        ">HOLES",
        ">GIVEN UP",
        ">UNREAD",
    )
    for one in found.partitions:
        numbers = (
            one.began,
            one.next_offset,
            one.records,
            one.stored,
            one.dead,
            one.duplicates,
            one.holes,
            one.given_up,
        )
        unread = "–" if one.unread is None else f"{one.unread:,}"
        rows.add_row(one.topic, str(one.partition), *(f"{number:,}" for number in numbers), unread)
    out.print(rows if found.partitions else "nothing was read yet")
    for disagreement in disagreements:
        where = f"{disagreement.topic}[{disagreement.partition}] " if disagreement.topic else ""
        out.print(Text(f"! {where}{disagreement.what}", style="red"))
    if not disagreements:
        how = "the ledger, the broker's end offsets" if asked else "the ledger"
        again = " and the topics read again" if verified else ""
        out.print(Text(f"clean: every offset has one disposition ({how}{again})", style="green"))


def _json(
    found: Audit, disagreements: tuple[Disagreement, ...], *, asked: bool, verified: bool
) -> dict[str, Any]:
    return {
        "clean": not disagreements,
        "broker_asked": asked,
        "verified": verified,
        "records": sum(one.records for one in found.partitions),
        "stored": sum(one.stored for one in found.partitions),
        "dead": sum(one.dead for one in found.partitions),
        "duplicates": sum(one.duplicates for one in found.partitions),
        "unread": sum(one.unread or 0 for one in found.partitions) if asked else None,
        "partitions": [
            {
                "topic": one.topic,
                "topic_id": one.topic_id,
                "partition": one.partition,
                "from": one.began,
                "to": one.next_offset,
                "records": one.records,
                "stored": one.stored,
                "dead": one.dead,
                "duplicates": one.duplicates,
                "holes": one.holes,
                "given_up": one.given_up,
                "end_offset": one.end_offset,
                "unread": one.unread,
            }
            for one in found.partitions
        ],
        "disagreements": [
            {"topic": one.topic, "partition": one.partition, "what": one.what} for one in disagreements
        ],
    }
