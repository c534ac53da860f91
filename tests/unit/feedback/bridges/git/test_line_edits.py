"""Which lines became which: exact, blind to white space, and bounded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.bridges.git.line_edits import LineEdit, apply_edits, line_edits, line_key, lines_of, touches

LINES = st.lists(st.sampled_from(["a", "b", "  a", "", "c d", "c  d"]), max_size=8)


@settings(max_examples=60, deadline=None)
@given(before=LINES, after=LINES)
def test_edits_make_the_later_text_but_for_white_space(before: list[str], after: list[str]) -> None:
    edited = apply_edits(before, line_edits(before, after))
    assert line_key("".join(edited)) == line_key("".join(after))
    assert all(
        edit.lines == tuple(after[edit.at : edit.at + len(edit.lines)]) for edit in line_edits(before, after)
    )


def test_a_text_is_its_lines_joined() -> None:
    for text in ("", "\n", "a", "a\n", "a\r\nb", "\u2028a\x0cb\n"):
        assert "\n".join(lines_of(text)) == text.replace("\r\n", "\n")


@pytest.mark.parametrize(
    "after",
    [["f(a, b)"], ["f(", "  a,b", ")"], ["", "f( a,b )", ""]],
    ids=["blanks", "breaks", "blank lines"],
)
def test_formatting_is_no_edit(after: list[str]) -> None:
    assert line_edits(["f(a,b)"], after) == []


def test_an_edit_touches_the_lines_that_it_changes_and_those_it_parts() -> None:
    added = LineEdit(start=4, end=4, lines=("x", "y"), at=4)
    touching = [(4, 5), (3, 5), (5, 9), (5, 5)]
    not_touching = [(3, 4), (6, 7), (4, 4), (6, 6)]
    for start, end in touching:
        assert touches(LineEdit(start=start, end=end, lines=(), at=start), added)
    for start, end in not_touching:
        assert not touches(LineEdit(start=start, end=end, lines=(), at=start), added)
    removed = LineEdit(start=4, end=6, lines=(), at=4)
    assert touches(LineEdit(start=4, end=4, lines=("back",), at=4), removed)


def test_long_files_with_changes_far_apart_have_their_own_edits() -> None:
    before = [
        f"x = {number}" if number % 3 else ("", "return None", "}")[number % 9 // 3] for number in range(4000)
    ]
    after = [*before]
    after[10], after[3900] = "y = 1", "y = 2"
    assert [edit.lines for edit in line_edits(before, after)] == [("y = 1",), ("y = 2",)]


def test_texts_that_would_take_minutes_to_compare_are_one_edit() -> None:
    kinds, lines = 100, 4000
    before = [f"same {n // 2 % kinds}" if n % 2 else f"old {n}" for n in range(lines)]
    after = [f"same {-n // 2 % kinds}" if n % 2 else f"new {n}" for n in range(lines)]
    [edit] = line_edits(before, after)
    assert (edit.start, edit.lines) == (0, tuple(after[: edit.at + len(edit.lines)]))
