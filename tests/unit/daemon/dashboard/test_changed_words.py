"""The words that differ between two texts are marked, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.dashboard.changed_words import WORDS_MAX, changed_words


def marked(before: str, after: str) -> tuple[list[str], list[str]]:
    sides = changed_words(before, after)
    old, new = ([passage.text for passage in side if passage.differs] for side in sides)
    return old, new


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        ("It was dropped.", "It is cancelled.", ["was dropped"], ["is cancelled"]),
        ("the same", "the same", [], []),
        ("", "new", [], ["new"]),
        ("notify: false", "notify: true", ["false"], ["true"]),
    ],
)
def test_words_that_differ_are_marked(before: str, after: str, old: list[str], new: list[str]) -> None:
    assert marked(before, after) == (old, new)


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_sign_of_either_text_is_lost(before: str, after: str) -> None:
    old, new = changed_words(before, after)
    assert "".join(passage.text for passage in old) == before
    assert "".join(passage.text for passage in new) == after


def test_very_long_texts_are_shown_without_marks() -> None:
    long = "word " * (WORDS_MAX + 1)
    assert marked(long, long + "more") == ([], [])
