"""Python code is compared by its tokens."""

import warnings

import pytest

from serving.scoring.python_code import is_python, is_same_python

CODE = "def total(rows):\n    # all of them\n    return sum(\n        rows,\n    )\n"


@pytest.mark.parametrize(
    ("answer", "wanted", "same"),
    [
        ("def total(rows):\n\n  return sum(rows,)  # quick", CODE, True),
        ("def total(rows):\n    return sum(rows)", CODE, False),
        ("def total(rows):\n    pass\n    return sum(rows,)", CODE, False),
        ("f('a  b')", "f('a b')", False),
        ("f(a)\ng(b)", "f(a), g(b)", False),
        ("if a:\n    f()\ng()", "if a:\n    f()\n    g()", False),
        ("f(", "f()", False),
        ("f(\x00)", "f()", False),
        ("(" * 5000 + ")" * 5000, "f()", False),
        ("é" * 200_000, "f()", False),
    ],
)
def test_code_is_the_same_if_its_tokens_are(answer: str, wanted: str, same: bool) -> None:
    assert is_same_python(answer, wanted) is same
    assert is_same_python(wanted, answer) is same


def test_what_people_wrote_is_not_quoted_in_a_warning() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert is_python("f('secret \\d') is 4")
    assert seen == []
