"""From one Kafka record to what it is: an event, an interaction, or unusable for a reason. It never raises.

Redaction happens here, before anything of the record can reach a disk.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from feedback import wire
from feedback.envelope import VALUE_BYTES_MAX, Envelope, RecordRefused, open_envelope, parse
from feedback.grouping import group_of, role_of
from feedback.redaction import RedactionCounts, Redactor
from ledger.events import Arrival, Event, Headers, Interaction, Kind, Reason, UnusableRecord
from ledger.identity import Identity

OVERSIZED_BYTES_KEPT = 64 * 1024
_PLAIN_HEADERS = frozenset({"content-type", "ce_specversion", "ce_type", "ce_time", "traceparent"})
_NAMING_HEADERS = frozenset({"ce_id", "ce_source"})

_Name = Callable[[Any], Any]


class Reader:
    """Reads records for one ledger. `redacted` counts what was taken out, by kind."""

    def __init__(self, identity: Identity, redactor: Redactor) -> None:
        self._identity = identity
        self._redactor = redactor
        self.redacted: RedactionCounts = Counter()

    def read(
        self, *, offset: int, key: bytes | None, value: bytes | None, headers: Headers, received_s: float
    ) -> Arrival:
        """What the record turned out to be. Key, value and headers come back redacted.

        Nothing can have occurred after it was received: a sender's clock that is ahead is set to that.
        """
        suspect = value is not None and self._redactor.suspects(value)
        # Names come from either; where neither is suspect, none of them has to be looked at again.
        suspect_around = self._redactor.suspects(_around(key, headers))
        content: Event | Interaction | UnusableRecord
        try:
            envelope = open_envelope(value, headers)
            content = self._content(
                envelope, value or b"", suspect=suspect, suspect_names=suspect or suspect_around
            )
            if isinstance(content, Event) and content.occurred_s is not None:
                content = replace(content, occurred_s=min(content.occurred_s, received_s))
        except RecordRefused as refusal:
            content = self._unusable(refusal.unusable, value)
        # What an event's own strings held is counted already; the bytes are kept only if it proves dead.
        found = self.redacted if isinstance(content, UnusableRecord) else RedactionCounts()
        if value is not None and len(value) > VALUE_BYTES_MAX:
            value = value[:OVERSIZED_BYTES_KEPT]
        if suspect_around:
            key = None if key is None else self._identifier(key, found)
            headers = tuple((name, self._header(name, octets, found)) for name, octets in headers)
        return Arrival(
            offset=offset,
            key=key,
            value=self._value(value, found) if suspect and value is not None else value,
            headers=headers,
            content=content,
        )

    def redacted_name(self, name: str) -> str:
        """The name by which events have an author of that name."""
        return self._redactor.name(name, RedactionCounts())

    def _content(
        self, envelope: Envelope, raw: bytes, *, suspect: bool, suspect_names: bool
    ) -> Event | Interaction:
        model = wire.TYPES.get(envelope.type)
        if model is None:
            raise RecordRefused(Reason.UNKNOWN_TYPE, f"known: {', '.join(wire.TYPES)}")
        try:
            data = model.model_validate(envelope.data)
        except ValidationError as fault:
            raise RecordRefused(Reason.INVALID_SCHEMA, wire.complaint(fault)) from None
        said = wire.own_fields(data)
        kept = self._redactor.value(said, self.redacted) if suspect else said
        name = self._name if suspect_names else _same
        if isinstance(data, wire.InteractionData):
            return self._interaction(envelope, data, kept, name, changed=kept != said)
        return self._event(envelope, data, kept, raw, name)

    def _event(
        self, envelope: Envelope, data: wire.Data, said: dict[str, Any], raw: bytes, name: _Name
    ) -> Event:
        kind = data.action if isinstance(data, wire.Intervention) else type(data).__name__.lower()
        group = group_of(said["messages"]) if "messages" in said else None
        if isinstance(data, wire.Retraction):
            said["target"] = {"source": name(data.target.source), "id": name(data.target.id)}
        return Event(
            source=name(envelope.source),
            id=name(envelope.id),
            digest=self._identity.fingerprint(raw),
            kind=Kind(kind),
            agent=data.agent,
            author=name(data.author),
            conversation=name(data.conversation),
            interaction=name(data.interaction),
            turn=data.turn,
            key=name(data.key),
            amends=name(data.amends),
            revision=data.revision,
            role=None if group is None else role_of(group),
            prompt_group=group,
            data=said,
            occurred_s=envelope.occurred_s,
            trace=envelope.trace,
        )

    def _interaction(
        self,
        envelope: Envelope,
        data: wire.InteractionData,
        said: dict[str, Any],
        name: _Name,
        *,
        changed: bool,
    ) -> Interaction:
        group = group_of(said["messages"])
        # Ids and log-probabilities would still spell what redaction took out of the text.
        tokens = None if changed or data.token_ids is None else tuple(data.token_ids)
        return Interaction(
            id=name(envelope.id),
            agent=data.agent,
            version=data.version,
            conversation=name(data.conversation),
            turn=data.turn,
            messages=tuple(said["messages"]),
            completion=said["completion"],
            token_ids=tokens,
            logprobs=None if tokens is None or data.logprobs is None else tuple(data.logprobs),
            sampling=said["sampling"],
            finish_reason=data.finish_reason,
            prompt_group=group,
            role=role_of(group),
        )

    def _header(self, name: str, octets: bytes | None, found: RedactionCounts) -> bytes | None:
        if octets is None or name in _PLAIN_HEADERS:
            return octets
        read = self._identifier if name in _NAMING_HEADERS else self._redactor.octets
        return read(octets, found)

    def _identifier(self, octets: bytes, found: RedactionCounts) -> bytes:
        """As events have it that are stored: what is sent again must be known by the same name."""
        try:
            return self._redactor.name(octets.decode(), found).encode()
        except UnicodeDecodeError:
            return self._redactor.octets(octets, found)

    def _name(self, name: Any) -> Any:
        return None if name is None else self._redactor.name(name, self.redacted)

    def _unusable(self, why: UnusableRecord, value: bytes | None) -> UnusableRecord:
        if why.reason is not Reason.OVERSIZED or value is None:
            return why
        kept = f"first {OVERSIZED_BYTES_KEPT} kept, hmac {self._identity.fingerprint(value)}"
        return UnusableRecord(reason=why.reason, detail=f"{why.detail}; {kept}")

    def _value(self, value: bytes, found: RedactionCounts) -> bytes:
        """The bytes without what was found; JSON is read first, since it can spell a character two ways."""
        try:
            parsed = parse(value)
        except RecordRefused:
            return self._redactor.octets(value, found)
        kept = self._said(parsed, found)
        return value if kept == parsed else json.dumps(kept, ensure_ascii=False).encode()

    def _said(self, parsed: Any, found: RedactionCounts) -> Any:
        if not isinstance(parsed, dict):
            return self._redactor.value(parsed, found)
        data = parsed.get("data")
        if "specversion" not in parsed or not isinstance(data, dict):
            return self._redactor.said(parsed, found)
        around = {name: item for name, item in parsed.items() if name != "data"}
        return self._redactor.said(around, found) | {"data": self._redactor.said(data, found)}


def received_s(timestamp_ms: int, now_s: float) -> float:
    """When Kafka got a record, by the record's timestamp: the same whenever it is read, also after going back
    to a backup. On most topics that is its producer's clock, so it is now at the latest."""
    return min(now_s, timestamp_ms / 1000) if timestamp_ms > 0 else now_s  # -1: it has none


def _around(key: bytes | None, headers: Headers) -> bytes:
    """All that is said beside the value, at once."""
    return b"\0".join(
        (key or b"", *(octets for name, octets in headers if octets and name not in _PLAIN_HEADERS))
    )


def _same(name: Any) -> Any:
    return name
