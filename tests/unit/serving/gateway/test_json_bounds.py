"""Values and levels of JSON are counted without decoding, and without recursion."""

import json

from hypothesis import given
from hypothesis import strategies as st

from feedback.envelope import depth_of
from serving.gateway.json_bounds import count_values

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


def values_in(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(values_in, inner))


@given(VALUES)
def test_no_value_is_missed(value: object) -> None:
    assert count_values(json.dumps(value).encode(), enough=0) >= values_in(value) - 1


def test_commas_and_brackets_inside_strings_are_text() -> None:
    raw = json.dumps({"content": '[{,"\\' * 1000}).encode()
    assert count_values(raw, enough=100) == 2


def test_depth_is_counted_where_recursion_would_fail() -> None:
    value: object = 1
    for _ in range(10_000):
        value = [value]
    assert depth_of(value) == 10_000
    assert depth_of({"a": [{}]}) == 3
    assert depth_of("[[") == 0
