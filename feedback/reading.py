"""Makes of a Kafka record an event, an interaction, or an unusable record with its reason. It never raises.

Redaction happens here, before any part of the record can reach a disk.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from feedback import kept_headers, signing, wire
from feedback.complaints import complaint
from feedback.envelope import VALUE_BYTES_MAX, Envelope, RecordRefused, decoded_or_not, open_envelope, parse
from feedback.gateway_records import interaction_of, live_counts_of
from feedback.grouping import openings_of
from feedback.redaction import RedactionCounts, Redactor
from feedback.signing import SignatureRefused, Signers, rights_of, trusted_gateway
from ledger.events import (
    Arrival,
    Event,
    Headers,
    Interaction,
    Kind,
    LiveCounts,
    Reason,
    Trust,
    UnusableRecord,
)
from ledger.identity import Identity

OVERSIZED_BYTES_KEPT = 64 * 1024
_NUMBERS = re.compile(
    rb'"(?:[a-z_]{0,40}token[a-z_]{0,40}|logprobs)":\s*(?:\[[-+0-9.eE,\s]*\]|[-0-9][-+0-9.eE]*|""|null|true|false)'
)
"""Fields of a capture such as `token_ids` and `max_tokens`, where they hold no text."""

_Name = Callable[[Any], Any]


class Reader:
    """Reads records for one ledger. `redacted` counts redactions by kind.

    Without `signers` it trusts the ledger's own gateways and nobody else.
    """

    def __init__(self, identity: Identity, redactor: Redactor, signers: Signers | None = None) -> None:
        self._identity = identity
        self._signers = signers or Signers([trusted_gateway(identity)])
        self._redactor = redactor
        self.redacted: RedactionCounts = Counter()

    def read(
        self,
        *,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        received_s: float,
        any_captures: bool = True,
    ) -> Arrival:
        """The record's content, with key, value and headers redacted.

        `any_captures`: interactions and counts are read also if no gateway signed them.

        An event cannot have occurred after Kafka received it: a later time is replaced by `received_s`.
        """
        suspect_bytes = value is not None and (b"data_base64" in value or self._redactor.suspects(value))
        suspect = suspect_bytes
        # Names come from the value or the headers; where neither is suspect, no name is checked again.
        suspect_around = self._redactor.suspects(kept_headers.suspect_bytes(key, headers))
        content: Event | Interaction | LiveCounts | UnusableRecord
        try:
            envelope = open_envelope(value, headers)
            suspect = suspect_bytes and self._suspects_texts(envelope, value or b"")
            content = self._content(
                envelope,
                value or b"",
                suspect=suspect,
                suspect_names=suspect or suspect_around,
                any_captures=any_captures,
            )
            if isinstance(content, Event) and content.occurred_s is not None:
                content = replace(content, occurred_s=min(content.occurred_s, received_s))
        except RecordRefused as refusal:
            suspect = suspect_bytes
            content = self._unusable(refusal.unusable, value)
        # Redactions in an event's own strings are counted already; bytes are kept of dead letters only.
        counts = self.redacted if isinstance(content, UnusableRecord) else RedactionCounts()
        if value is not None and len(value) > VALUE_BYTES_MAX:
            value = value[:OVERSIZED_BYTES_KEPT]
        kept = self._redact_value(value, counts) if suspect and value is not None else value
        redacted_headers = headers
        if suspect_around:
            key = None if key is None else self._redact_identifier(key, counts)
            redacted_headers = tuple(
                (name, self._redact_header(name, header, counts)) for name, header in headers
            )
        if (kept, redacted_headers) != (value, headers) and not _is_forged(content):
            # Its signature does not fit any more. Sent again, the record is an unsigned one.
            kept, redacted_headers = kept_headers.without_seal(kept, redacted_headers)
        return Arrival(offset=offset, key=key, value=kept, headers=redacted_headers, content=content)

    def _suspects_texts(self, envelope: Envelope, value: bytes) -> bool:
        """Whether there is anything to redact beside a capture's token ids and log-probabilities.

        The hints take these for passwords, cards and base64. A capture whose ids are no numbers is refused.
        """
        data = envelope.data
        if wire.TYPES.get(envelope.type) is not wire.InteractionData or not isinstance(data, dict):
            return True
        packed = data.get("prompt_token_ids")
        if isinstance(packed, str):
            value = value.replace(b'"%b"' % packed.encode("utf-8", "surrogatepass"), b'""')
        return b"data_base64" in value or self._redactor.suspects(_NUMBERS.sub(b'""', value))

    def redacted_name(self, name: str) -> str:
        """The name under which the ledger knows an author."""
        return self._redactor.name(name, RedactionCounts())

    def _content(
        self,
        envelope: Envelope,
        raw: bytes,
        *,
        suspect: bool,
        suspect_names: bool,
        any_captures: bool,
    ) -> Event | Interaction | LiveCounts:
        try:
            trust = Trust.UNSIGNED
            if self._signers.check(envelope.signed, envelope.signer, envelope.signature):
                trust = Trust.SIGNED
        except SignatureRefused as refusal:
            raise RecordRefused(Reason.BAD_SIGNATURE, str(refusal)) from None
        speaks = envelope.signer == signing.GATEWAY or envelope.source == signing.GATEWAY_SOURCE
        is_gateways = trust is Trust.SIGNED and speaks
        if envelope.type in wire.GATEWAY_TYPES and not (is_gateways or any_captures):
            raise RecordRefused(Reason.UNSIGNED, "only a gateway says this, and signs it")
        model = wire.TYPES.get(envelope.type)
        if model is None:
            raise RecordRefused(Reason.UNKNOWN_TYPE, f"known: {', '.join(wire.TYPES)}")
        try:
            data = model.model_validate(envelope.data)
        except ValidationError as fault:
            raise RecordRefused(Reason.INVALID_SCHEMA, complaint(fault)) from None
        fields = wire.own_fields(data)
        fields.pop("prompt_token_ids", None)  # numbers: no text to redact
        redacted = self._redactor.value(fields, self.redacted) if suspect else fields
        name = self._name if suspect_names else _same
        if isinstance(data, wire.LiveData):
            return live_counts_of(data)
        if isinstance(data, wire.InteractionData):
            return interaction_of(name(envelope.id), data, redacted, name, changed=redacted != fields)
        return self._event(envelope, data, redacted, raw, name, trust)

    def _event(
        self,
        envelope: Envelope,
        data: wire.Data,
        fields: dict[str, Any],
        raw: bytes,
        name: _Name,
        trust: Trust,
    ) -> Event:
        is_signed = trust is Trust.SIGNED
        kind = data.action if isinstance(data, wire.Intervention) else type(data).__name__.lower()
        if isinstance(data, wire.Retraction):
            fields["target"] = {"source": name(data.target.source), "id": name(data.target.id)}
        if isinstance(data, wire.Outcome) and data.task is not None:
            fields["task"] = name(data.task)
        return Event(
            source=name(envelope.source),
            id=name(envelope.id),
            digest=self._identity.fingerprint(raw),
            kind=Kind(kind),
            agent=data.agent,
            author=name(data.author),
            conversation=name(_conversation_of(data)),
            interaction=name(data.interaction),
            turn=data.turn,
            key=name(data.key),
            amends=name(data.amends),
            revision=data.revision,
            openings=openings_of(fields["messages"]) if "messages" in fields else None,
            data=fields,
            occurred_s=envelope.occurred_s,
            trace=envelope.trace,
            trust=trust,
            signer=envelope.signer if is_signed else None,
            key_id=name(envelope.signed.key) if is_signed else None,
            rights=rights_of(envelope.signed.rights) if is_signed else frozenset(),
        )

    def _redact_header(self, name: str, header: bytes | None, counts: RedactionCounts) -> bytes | None:
        if header is None or kept_headers.is_plain(name, header):
            return header
        redact = self._redact_identifier if kept_headers.holds_identifier(name) else self._redactor.binary
        return redact(header, counts)

    def _redact_identifier(self, identifier: bytes, counts: RedactionCounts) -> bytes:
        """As in stored events: an event that is sent again must have the same name."""
        try:
            return self._redactor.name(identifier.decode(), counts).encode()
        except UnicodeDecodeError:
            return self._redactor.binary(identifier, counts)

    def _name(self, name: Any) -> Any:
        return None if name is None else self._redactor.name(name, self.redacted)

    def _unusable(self, unusable: UnusableRecord, value: bytes | None) -> UnusableRecord:
        if unusable.reason is not Reason.OVERSIZED or value is None:
            return unusable
        kept = f"first {OVERSIZED_BYTES_KEPT} kept, hmac {self._identity.fingerprint(value)}"
        return UnusableRecord(reason=unusable.reason, detail=f"{unusable.detail}; {kept}")

    def _redact_value(self, value: bytes, counts: RedactionCounts) -> bytes:
        """The redacted bytes. JSON is parsed first: it can spell a character in two ways."""
        try:
            parsed = parse(value)
        except RecordRefused:
            return self._redactor.binary(value, counts)
        redacted = self._redact_json(parsed, counts)
        return value if redacted == parsed else json.dumps(redacted, ensure_ascii=False).encode()

    def _redact_json(self, parsed: Any, counts: RedactionCounts) -> Any:
        if not isinstance(parsed, dict):
            return self._redactor.value(parsed, counts)
        if "specversion" in parsed and parsed.get("data_base64") is not None:
            encoded = parsed["data_base64"]
            parsed = {name: item for name, item in parsed.items() if name != "data_base64"}
            parsed["data"] = decoded_or_not(encoded)  # in base64 nothing can be redacted
        data = parsed.get("data")
        if "specversion" not in parsed or not isinstance(data, dict):
            return self._redact_data(parsed, counts)
        around = {name: item for name, item in parsed.items() if name != "data"}
        return self._redactor.event_data(around, counts) | {"data": self._redact_data(data, counts)}

    def _redact_data(self, data: dict[str, Any], counts: RedactionCounts) -> dict[str, Any]:
        """An event's data, redacted; token ids go where they would still spell what was taken out."""
        texts = {name: item for name, item in data.items() if name not in wire.IDS}
        redacted = self._redactor.event_data(texts, counts)
        return data if redacted == texts else redacted


def received_s(timestamp_ms: int, now_s: float) -> float:
    """When Kafka received a record, by the record's timestamp, and at most now.

    It is the same whenever the record is read, also after a restore. On most topics the timestamp is from the
    producer's clock, which may be ahead. Records without one (-1) are received now.
    """
    return min(now_s, timestamp_ms / 1000) if timestamp_ms > 0 else now_s


def _is_forged(content: object) -> bool:
    return isinstance(content, UnusableRecord) and content.reason is Reason.BAD_SIGNATURE


def _conversation_of(data: wire.Data) -> str | None:
    """The conversation that the event names: its task, where it names nothing else that it is about."""
    names = (data.conversation, data.interaction, data.amends)
    if isinstance(data, wire.Outcome) and not any(names) and not data.messages:
        return data.task
    return data.conversation


def _same(name: Any) -> Any:
    return name
