"""Whatever bytes a record has, reading it ends in one of two ways, is repeatable, and quotes nothing."""

import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ledger.events import UnusableRecord
from tests.unit.feedback.event_builder import EVENT_DATA, RECEIVED_S, build_headers, build_reader

SECRET = "zq-what-a-person-wrote-qz"
ENVELOPE = {"specversion": "1.0", "id": "e-1", "source": "ide", "time": "2026-11-22T10:00:00Z"}
MODES = (b"application/json", b"application/cloudevents+json", b"application/cloudevents-batch+json", b"x")
READER = build_reader()

_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(SECRET)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_headers = st.dictionaries(
    st.sampled_from(
        ["ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "content-type", "traceparent"]
    ),
    st.none() | st.binary(max_size=40) | st.sampled_from(MODES) | st.just(SECRET.encode()),
    max_size=3,
)


def _replaced(value: Any, place: int, put: Any) -> Any:
    """The JSON value with one of its parts, counted in reading order, exchanged."""
    parts: list[tuple[Any, Any]] = []

    def collect(inner: Any) -> None:
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            parts.append((inner, key))
            if isinstance(inner[key], dict | list):
                collect(inner[key])

    copy = json.loads(json.dumps(value))
    collect(copy)
    container, key = parts[place % len(parts)]
    container[key] = put
    return copy


@st.composite
def _values(draw: st.DrawFn) -> bytes | None:
    """Anything: bytes, JSON, and events in each mode of which one part was exchanged, cut off or not."""
    kind = draw(st.sampled_from(sorted(EVENT_DATA)))
    structured = {**ENVELOPE, "type": f"clorad.{kind}.v1", "data": EVENT_DATA[kind]}
    whole = draw(st.sampled_from([EVENT_DATA[kind], structured, [structured]]))
    changed = _replaced(whole, draw(st.integers(0, 40)), draw(_json))
    raw = json.dumps(changed).encode()
    return draw(
        st.none()
        | st.binary(max_size=60)
        | st.just(raw)
        | st.integers(0, len(raw)).map(lambda end: raw[:end])
    )


@given(value=_values(), kind=st.sampled_from(sorted(EVENT_DATA)), changed=_headers)
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@example(value=b'{"data":' * 5000, kind="correction", changed={"content-type": MODES[1]})
@example(value=b"[" * 100_000, kind="correction", changed={"content-type": MODES[2]})
def test_any_record_is_an_event_or_unusable_for_a_reason_that_quotes_nothing(
    value: bytes | None, kind: str, changed: dict[str, bytes | None]
) -> None:
    headers = build_headers(kind, **changed)
    first, second = (
        READER.read(offset=0, key=None, value=value, headers=headers, received_s=RECEIVED_S) for _ in range(2)
    )
    assert repr(first.content) == repr(second.content)
    if isinstance(first.content, UnusableRecord):
        assert first.content.detail
        assert SECRET not in first.content.detail
