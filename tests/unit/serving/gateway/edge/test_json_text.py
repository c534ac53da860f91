"""Whatever a client sends is decoded or refused: in time, and by one exception."""

import asyncio
import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from feedback.call_arguments import depth_of
from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.json_text import (
    count_request,
    count_values,
    decode_now,
    decode_request,
    encode_now,
    nests_deeper,
)
from serving.gateway.edge.limits import LARGE_BODY_BYTES
from tests.unit.serving.gateway.gateway_builder import build_limits

LIMITS = build_limits()
JSON = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(some.sampled_from('"\\,[{]}: a\x00\u00e9\U0001f600'), max_size=9),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=4), inner, max_size=4),
    max_leaves=15,
)


def decode(raw: bytes, **limits: Any) -> dict[str, Any]:
    bounds = build_limits(**limits) if limits else LIMITS
    if count_values(raw, enough=bounds.values_max) > bounds.values_max:
        asyncio.run(count_request(raw, bounds))  # it raises
    return decode_now(raw, bounds)


def values_in(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(values_in, value.values()))
    return 1 + sum(map(values_in, value)) if isinstance(value, list) else 1


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "body_json"),
        (b"{", "body_json"),
        (b'{"a": 1}x', "body_json"),
        (b"7", "body_json"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"a": 1}', "body_json"),
        ('{"a": 1}'.encode("utf-16"), "body_json"),
        (b'{"a": "\xff"}', "body_json"),
        (b'{"a": NaN}', "body_json"),
        (b'{"a": -Infinity}', "body_json"),
        (b'{"a": 1e999}', "body_json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "body_json"),
        (b'{"a": "\\ud800"}', "body_json"),
        (b'{"a": {"\\uDFff": 1}}', "body_json"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "body_depth"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "body_depth"),
        (b"[" * 1_000_000, "body_values"),
        (b"[" * 90_000, "body_depth"),
        (b'{"x": [' + b"[]," * 600_000 + b"[]]}", "body_values"),
        (b'{"x": [' + b'"",' * 600_000 + b"1]}", "body_values"),
    ],
)
def test_a_body_beyond_a_bound_is_refused_by_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        decode(raw)
    assert (refusal.value.status, refusal.value.reason) == (400, reason)


@pytest.mark.parametrize("size", [10, LARGE_BODY_BYTES + 10])
def test_texts_of_any_size_are_decoded_by_the_event_loop(size: int) -> None:
    value = {"x": "y" * size}
    assert asyncio.run(decode_request(json.dumps(value).encode(), LIMITS)) == value
    with pytest.raises(RequestRefused):
        asyncio.run(decode_request(b" " * size, LIMITS))


def test_bodies_at_the_bounds_are_decoded() -> None:
    deep = b'{"a":' * 64 + b"1" + b"}" * 64
    assert depth_of(decode(deep)) == 64
    many = {"x": [7] * 99_000}
    assert decode(json.dumps(many).encode()) == many
    text = {"x": '{"a": [1, 2]}, ' * 50_000}
    assert decode(json.dumps(text).encode()) == text, "what strings hold is not counted"
    pair = {"x": "\U0001f600"}
    assert decode(json.dumps(pair).encode()) == pair


@pytest.mark.parametrize("piece", [b'"a\\', b'\\"', b'"', b"\\", b'"\\\\"', b'",'])
def test_counting_takes_linear_time(piece: bytes) -> None:
    raw = (b'{"x":"' + piece * (2_000_000 // len(piece)))[:2_000_000]
    began_s = time.thread_time()
    count_values(b"," * 200_000 + raw, enough=100_000)
    assert time.thread_time() - began_s < 2.0


@pytest.mark.parametrize("shift", range(4))
def test_strings_that_lie_across_pieces_are_still_strings(shift: int) -> None:
    values = ["," * shift, *["[a,", {"}": "]{,"}] * 30_000]
    raw = json.dumps(values).encode()
    count = len(values) + len(values) // 2
    assert values_in(values) <= count_values(raw, enough=100_000) <= count + 2
    assert not nests_deeper(raw, 2)
    assert nests_deeper(raw, 1)


@given(value=JSON, enough=some.integers(0, 40))
def test_a_count_within_the_bound_is_never_too_low(value: Any, enough: int) -> None:
    raw = json.dumps(value, ensure_ascii=False).encode()
    assert count_values(raw, enough=enough) > enough or values_in(value) <= enough
    assert count_values(raw, enough=10**6) >= values_in(value)


@given(value=some.dictionaries(some.text(max_size=4), JSON))
def test_json_within_the_bounds_is_decoded_as_it_was_meant(value: dict[str, Any]) -> None:
    assert depth_of(value) <= LIMITS.depth_max
    assert decode(json.dumps(value).encode()) == value


@given(value=JSON, depth_max=some.integers(0, 4))
def test_the_depth_of_a_text_is_that_of_its_value(value: Any, depth_max: int) -> None:
    assert nests_deeper(json.dumps(value).encode(), depth_max) == (depth_of(value) > depth_max)


@given(value=JSON)
def test_what_was_decoded_is_encoded_as_it_was(value: Any) -> None:
    assert json.loads(encode_now(value)) == value


def test_an_integer_of_any_length_is_passed_on_exactly() -> None:
    raw = b'{"seed": 123456789012345678901234567890}'
    assert json.loads(encode_now(decode(raw))) == json.loads(raw)


@settings(max_examples=300)
@given(raw=some.binary(max_size=60) | some.text('{}[]",:\\ud8N1e9tru', max_size=60).map(str.encode))
def test_any_octets_are_decoded_or_refused(raw: bytes) -> None:
    with contextlib.suppress(RequestRefused):
        assert isinstance(decode(raw), dict)
