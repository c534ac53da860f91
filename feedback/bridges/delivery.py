"""Sends what annotations say, each once: repeated ones are not sent again, withdrawn ones are retracted."""

import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum

import structlog
from opentelemetry import metrics

from feedback.bridges.annotation import (
    Annotation,
    AnnotationFault,
    AnnotationRefused,
    ToolOptions,
    event_of,
    source_of,
)
from feedback.bridges.journal import FORGOTTEN, JournalEntry, SentJournal
from feedback.counters import start_at_zero
from feedback.sending.event import OutgoingEvent, SentFeedback, build_outgoing_event

log = structlog.get_logger(__name__)
_annotations = metrics.get_meter("feedback").create_counter(
    "clorad.bridge.annotations",
    unit="{annotation}",
    description="annotations that bridges read in other tools, by what became of them",
)


class AnnotationFate(StrEnum):
    """What became of an annotation that could be used."""

    SENT = "sent"
    RETRACTED = "retracted"  # it was withdrawn, and its event with it
    REPEATED = "repeated"  # it was sent before
    SILENT = "silent"  # it says nothing that is feedback


FATES = (*(fate.value for fate in AnnotationFate), *(fault.value for fault in AnnotationFault))


class Delivery:
    """Sends the annotations of one tool. Threads may share it."""

    def __init__(
        self,
        tool: str,
        options: ToolOptions,
        journal: SentJournal,
        send: Callable[[OutgoingEvent], SentFeedback],
    ) -> None:
        self._tool, self._options, self._journal, self._send = tool, options, journal, send
        self._lock = threading.Lock()
        start_at_zero(_annotations, *({"tool": tool, "fate": fate} for fate in FATES))

    def is_known(self, name: str, revised_at: datetime) -> bool:
        """Whether the annotation was read before as it is now."""
        entry = self._journal.entry(name)
        return entry is not None and entry.revised == revised_at.isoformat()

    def deliver(self, annotation: Annotation) -> AnnotationFate:
        """Kafka has what the annotation says. Raises `AnnotationRefused`, and what sending raises."""
        with self._lock:
            try:
                fate = self._deliver(annotation)
            except AnnotationRefused as refusal:
                self.refuse(refusal, name=annotation.name, revised=_revised(annotation))
                raise
        _annotations.add(1, {"tool": self._tool, "fate": fate.value})
        return fate

    def refuse(self, refusal: AnnotationRefused, *, name: str | None = None, revised: str = "") -> None:
        """Count an annotation that cannot be used; with its name it is not read again until it changes."""
        _annotations.add(1, {"tool": self._tool, "fate": refusal.fault.value})
        log.warning("annotation not usable", bridge=self._options.name, annotation=name, why=str(refusal))
        if name is not None and (before := self._journal.entry(name)) is None:
            self._journal.note(JournalEntry(name=name, revised=revised, fate=refusal.fault.value))
        elif name is not None and before is not None:
            self._journal.note(JournalEntry(**{**asdict(before), "revised": revised}))

    def _deliver(self, annotation: Annotation) -> AnnotationFate:
        before = self._journal.entry(annotation.name)
        if before is not None and _is_later(before.revised, annotation):
            return AnnotationFate.REPEATED  # tools do not keep the order of their webhooks
        if before is not None and (before.fate, before.revised) == (FORGOTTEN, _revised(annotation)):
            return AnnotationFate.REPEATED  # its author asked to be forgotten, and it did not change since
        if annotation.said is None:
            return self._withdraw(annotation, before)
        event = event_of(annotation, self._options)
        if before is not None and before.id == event.id:
            return AnnotationFate.REPEATED
        entry = JournalEntry(
            name=annotation.name,
            revised=_revised(annotation),
            fate=AnnotationFate.SENT.value,
            id=event.id,
            kind=annotation.said.kind,
            agent=event.data["agent"],
            author=event.data["author"],
        )
        if before is not None and before.id is not None and not _replaces(entry, before):
            self._retract(before)
        self._send(event)
        self._journal.note(entry)
        return AnnotationFate.SENT

    def _withdraw(self, annotation: Annotation, before: JournalEntry | None) -> AnnotationFate:
        retracts = before is not None and before.id is not None
        if before is not None and before.id is not None:
            self._retract(before)
        fate = AnnotationFate.RETRACTED if retracts else AnnotationFate.SILENT
        self._journal.note(JournalEntry(name=annotation.name, revised=_revised(annotation), fate=fate.value))
        return fate

    def _retract(self, entry: JournalEntry) -> None:
        source = source_of(self._options.name)
        data = {
            "agent": entry.agent,
            "author": entry.author,
            "target": {"source": source, "id": entry.id},
        }
        self._send(build_outgoing_event("retraction", data, source=source, event_id=f"{entry.id}-gone"))


def _replaces(entry: JournalEntry, before: JournalEntry) -> bool:
    """Whether the ledger replaces the earlier event by itself: by key, of one kind, agent and author."""
    return (entry.kind, entry.agent, entry.author) == (before.kind, before.agent, before.author)


def _revised(annotation: Annotation) -> str:
    return "" if annotation.revised_at is None else annotation.revised_at.isoformat()


def _is_later(revised: str, annotation: Annotation) -> bool:
    """Whether this revision came after the annotation as it is told now."""
    if not revised or annotation.revised_at is None:
        return False
    return datetime.fromisoformat(revised) > annotation.revised_at
