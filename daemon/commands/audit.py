"""`clorad audit`: checks that every offset has exactly one disposition, in the ledger and at the broker."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from daemon.commands.forgetting import erasure_line
from daemon.commands.ledger import opened
from daemon.console import CommandFailed, console, count, show_json, table
from daemon.settings import Settings
from daemon.terminal.progress import working
from ledger.database import Database
from ledger.reports.audit import Audit, Disagreement, PartitionAudit, against, audit, recount
from ledger.upkeep.erasures import all_erasures

if TYPE_CHECKING:
    from feedback.inspection import Extent


def show_audit(settings: Settings, *, verify: bool, offline: bool, as_json: bool) -> None:
    """Print whether every offset has one disposition. Raises `CommandFailed` if anything disagrees.

    `verify` reads the topics again; with `offline` the command does not ask the broker anything.
    """
    from daemon.commands import broker

    with opened(settings) as database:
        with working("auditing"):
            audited = audited_with_broker(
                database,
                None if offline else lambda: _extents(settings),
                (lambda extent, start, end: broker.offsets(settings, extent, start=start, end=end))
                if verify
                else None,
            )
        with database.read() as connection:
            erasures = all_erasures(connection)
    if as_json:
        document = audited.to_json(asked=not offline, verified=verify)
        show_json({**document, "erasures": [erasure.to_json() for erasure in erasures]})
    else:
        _render(audited, console(), asked=not offline, verified=verify)
        for erasure in erasures:
            console().print(erasure_line(erasure))
    if audited.disagreements:
        raise CommandFailed(f"the audit disagrees in {count(len(audited.disagreements), 'place')}")


def audited_with_broker(
    database: Database,
    ask: "Callable[[], Sequence[Extent]] | None",
    read_again: "Callable[[Extent, int, int], Iterable[int]] | None" = None,
) -> Audit:
    """Compare the ledger with itself, with the broker's end offsets (`ask`), and its records (`read_again`).

    The ledger is read first: events arrive meanwhile, so a log that is read later has at least the records
    that the ledger has. The result is the state at that first moment.
    """
    with database.read() as connection:
        audited = audit(connection)
    extents = ask() if ask is not None else ()
    by_place = {(extent.topic_id, extent.partition): extent for extent in extents}
    audited = against(
        audited,
        ends={place: extent.end for place, extent in by_place.items()},
        firsts={place: extent.first for place, extent in by_place.items()},
    )
    read = {(partition.topic_id, partition.partition): partition for partition in audited.partitions}
    recounted: tuple[Disagreement, ...] = ()
    for extent in extents if read_again is not None else ():
        place = (extent.topic_id, extent.partition)
        partition = read.get(place)
        if partition is not None and read_again is not None and partition.next_offset > extent.first:
            offsets = read_again(extent, partition.began, partition.next_offset)
            with database.read() as connection:
                recounted += recount(
                    connection, place, offsets, first=extent.first, end=partition.next_offset
                )
    unread = (_never_read(extent) for extent in extents if (extent.topic_id, extent.partition) not in read)
    return Audit(
        partitions=(*audited.partitions, *unread), disagreements=(*audited.disagreements, *recounted)
    )


def _never_read(extent: "Extent") -> PartitionAudit:
    """A partition that the broker has and that intake has not begun: all of its records are unread."""
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


def _extents(settings: Settings) -> "tuple[Extent, ...]":
    from daemon.commands import broker

    try:
        return broker.extents(settings)
    except CommandFailed as away:
        raise CommandFailed(f"{away}; --offline audits the ledger alone", code=away.code) from None


def _render(audited: Audit, out: Console, *, asked: bool, verified: bool) -> None:
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
    for partition in audited.partitions:
        numbers = (
            partition.began,
            partition.next_offset,
            partition.records,
            partition.stored,
            partition.dead,
            partition.duplicates,
            partition.holes,
            partition.given_up,
        )
        unread = "–" if partition.unread is None else f"{partition.unread:,}"
        rows.add_row(
            partition.topic, str(partition.partition), *(f"{number:,}" for number in numbers), unread
        )
    out.print(rows if audited.partitions else "nothing was read yet")
    for disagreement in audited.disagreements:
        where = f"{disagreement.topic}[{disagreement.partition}] " if disagreement.topic else ""
        out.print(Text(f"! {where}{disagreement.what}", style="red"))
    if not audited.disagreements:
        sources = "the ledger, the broker's end offsets" if asked else "the ledger"
        again = " and the topics read again" if verified else ""
        out.print(Text(f"clean: every offset has one disposition ({sources}{again})", style="green"))
