"""`clorad import`: sends the examples of a fine-tuning file as feedback, and counts what became of them."""

from collections import Counter, deque
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from daemon.commands.broker import sender_of
from daemon.console import CommandFailed, console, count, fields, show_json, table
from daemon.exit_codes import ExitCode
from daemon.settings import Settings
from daemon.signers import why_not_believed
from feedback.producer import NotAcknowledged, Sent
from feedback.sending.event import FeedbackRefused, OutgoingEvent
from feedback.sending.kafka_sender import ACK_S_MAX
from feedback.training_files import ImportOptions, LineRefused, events_of_line, lines_of

IN_FLIGHT_MAX = 500
_REASONS_MAX = 50


@dataclass(slots=True)
class _Unusable:
    """Lines that were refused for one reason."""

    first_line: int
    lines: int = 0


@dataclass(slots=True)
class ImportReport:
    """What became of the lines of one file, and of the events in them."""

    lines: int = 0
    events: Counter[str] = field(default_factory=Counter)  # to send, by type
    repeated: int = 0  # events that the file has once more
    sent: int = 0
    unusable: dict[str, _Unusable] = field(default_factory=dict)  # by reason
    _ids: set[str] = field(default_factory=set)

    def new_events(self, line: bytes | None, options: ImportOptions) -> list[OutgoingEvent]:
        """The events of the next line that no earlier line had."""
        self.lines += 1
        try:
            events = events_of_line(line, options)
        except LineRefused as refusal:
            self.refuse(str(refusal))
            return []
        fresh = [event for event in events if event.id not in self._ids]
        self.repeated += len(events) - len(fresh)
        self._ids |= {event.id for event in fresh}
        return fresh

    def refuse(self, reason: str) -> None:
        """Count the last line as unusable."""
        if reason not in self.unusable and len(self.unusable) >= _REASONS_MAX:
            reason = "other reasons"
        self.unusable.setdefault(reason, _Unusable(self.lines)).lines += 1


def import_file(
    settings: Settings, file: Path, options: ImportOptions, *, dry_run: bool, as_json: bool
) -> ExitCode:
    """Send the file's events, each once, and print the counts. `dry_run`: only count.

    Raises `CommandFailed`: nothing is lost then, and the same command sends what is missing.
    """
    if (why := why_not_believed(settings.feedback, options.source)) is not None:
        raise CommandFailed(f"nothing is sent: {why}", code=ExitCode.CHANGE_NEEDED)
    report = ImportReport()
    try:
        with file.open("rb") as opened, ExitStack() as stack:
            sending = None if dry_run else _Sending(settings, stack, report)
            for line in lines_of(opened):
                for event in report.new_events(line, options):
                    report.events[event.type] += 1
                    if sending is not None:
                        sending.send(event)
            if sending is not None:
                sending.finish()
    except OSError as fault:
        why = fault.strerror or type(fault).__name__
        raise CommandFailed(f"{file.name}: {why}", code=ExitCode.USAGE) from None
    if as_json:
        show_json(_document(report, dry_run=dry_run))
    else:
        _show(report, settings, dry_run=dry_run)
    return ExitCode.FAILED if report.unusable else ExitCode.DONE


class _Sending:
    """Keeps at most `IN_FLIGHT_MAX` events on their way."""

    def __init__(self, settings: Settings, stack: ExitStack, report: ImportReport) -> None:
        self._sender = sender_of(settings)
        stack.callback(self._sender.close)
        self._servers = settings.kafka.bootstrap_servers
        self._report = report
        self._pending: deque[Future[Sent]] = deque()

    def send(self, event: OutgoingEvent) -> None:
        """Send one event, after waiting for the oldest where too many are on their way."""
        if len(self._pending) >= IN_FLIGHT_MAX:
            self._confirm()
        try:
            self._pending.append(self._sender.begin(event))
        except FeedbackRefused as refusal:
            self._report.events[event.type] -= 1
            self._report.refuse(refusal.reason)

    def finish(self) -> None:
        """Wait until Kafka has all."""
        while self._pending:
            self._confirm()

    def _confirm(self) -> None:
        try:
            self._pending.popleft().result(timeout=2 * ACK_S_MAX)
        except (NotAcknowledged, TimeoutError) as fault:
            reason = f"Kafka at {self._servers} did not acknowledge it ({str(fault) or 'timeout'})"
            sent = f"{self._report.sent} events are sent; import the file again, and each counts once"
            raise CommandFailed(f"{reason}; {sent}", code=ExitCode.TRY_AGAIN) from None
        self._report.sent += 1


def _document(report: ImportReport, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "lines": report.lines,
        "events": dict(report.events),
        "sent": report.sent,
        "repeated": report.repeated,
        "unusable": [
            {"reason": reason, "lines": lines.lines, "first_line": lines.first_line}
            for reason, lines in report.unusable.items()
        ],
    }


def _show(report: ImportReport, settings: Settings, *, dry_run: bool) -> None:
    output = console()
    unusable = sum(lines.lines for lines in report.unusable.values())
    fates: list[tuple[str, str | Text]] = [
        ("lines", f"{report.lines:,}"),
        ("would be sent" if dry_run else "sent", _kinds(report)),
        ("repeated in the file", f"{report.repeated:,}"),
        ("unusable lines", f"{unusable:,}"),
    ]
    output.print(fields(fates))
    if report.unusable:
        rows = table(">lines", ">first", "why")
        for reason, lines in report.unusable.items():
            rows.add_row(f"{lines.lines:,}", f"{lines.first_line:,}", reason)
        output.print(rows)
    if report.events["clorad.correction.v1"] and settings.gate.authors_min > 1:
        output.print(
            f"what only one person says waits for another (gate.authors_min is {settings.gate.authors_min}), "
            "unless it is signed with the right `judge`"
        )


def _kinds(report: ImportReport) -> str:
    kinds = [f"{count(number, 'event')} {kind}" for kind, number in report.events.items() if number]
    return ", ".join(kinds) or "nothing"
