"""Arguments of calls are one JSON object; whatever else a model writes stays the text it is."""

import json
from typing import Any

import pytest

from feedback.call_arguments import DEPTH_MAX, arguments_in, depth_of


@pytest.mark.parametrize("arguments", ["", None, "{}", {}])
def test_no_arguments_are_an_empty_object(arguments: Any) -> None:
    assert arguments_in(arguments) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        *("[1]", "7", '"x"', '{"a": ', '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', 7, [1], True),
        '{"a": ' + "9" * 5000 + "}",
        '{"a":' * 3000 + "1" + "}" * 3000,
    ],
)
def test_what_is_no_json_object_is_no_arguments(arguments: Any) -> None:
    assert arguments_in(arguments) is None


def test_arguments_have_as_many_levels_as_a_record_may_have() -> None:
    nested: Any = 1
    for _ in range(DEPTH_MAX):
        nested = {"a": nested}
    assert depth_of(nested) == DEPTH_MAX
    for form in (nested, json.dumps(nested)):
        assert arguments_in(form) == nested
    for form in ({"a": nested}, json.dumps({"a": nested})):
        assert arguments_in(form) is None
