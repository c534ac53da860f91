"""Spans give half of a correction's mass to the changed characters."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.episode import Weighted
from rewards.spans import changed, weigh


def texts_of(text: str, hunks: tuple[tuple[int, int], ...]) -> list[str]:
    return [text[start:end] for start, end in hunks]


def test_only_the_words_that_differ_are_changed() -> None:
    rejected, corrected = 'x = open("notes.txt").read()', 'x = Path("notes.txt").read_text()'
    left, right = changed(rejected, corrected)
    assert texts_of(rejected, left) == ["open", "read"]
    assert texts_of(corrected, right) == ["Path", "read_text"]


def test_what_was_changed_is_marked_and_nothing_else() -> None:
    _, corrected = weigh('{"tool":"cancel","order":10}', '{"tool":"cancel","order":10,"notify":true}')
    assert [corrected.text[span.start : span.end] for span in corrected.spans] == [',"notify":true']
    assert len({span.weight for span in corrected.spans}) == 1


def test_where_words_were_only_left_out_the_next_word_is_changed() -> None:
    left, right = changed("please do kindly stop now", "please do stop now")
    assert texts_of("please do kindly stop now", left)[0].strip() == "kindly"
    assert texts_of("please do stop now", right)[0].strip() == "stop"


def test_words_left_out_at_the_end_leave_no_hunk_behind() -> None:
    assert changed("done. goodbye", "done.")[1] == ()


def test_a_text_rewritten_from_scratch_has_no_spans() -> None:
    assert weigh("alpha", "omega") == (Weighted(text="alpha"), Weighted(text="omega"))


def test_equal_texts_have_no_spans() -> None:
    assert weigh("same", "same")[1].spans == ()


def test_long_texts_are_compared_by_lines() -> None:
    lines = [f"line {number} says {number * 7}" for number in range(200)]
    other = [
        line.replace("says", "claims") if index in (3, 180) else line for index, line in enumerate(lines)
    ]
    rejected, corrected = "\n".join(lines), "\n".join(other)
    assert texts_of(corrected, changed(rejected, corrected)[1]) == [other[3] + "\n", other[180] + "\n"]


@pytest.mark.parametrize(
    ("rejected", "corrected"),
    [
        ("!" * 100_000 + "x", "y" + "!" * 100_000),
        ("a\n" * 60_000 + "x", "y" + "b\n" * 60_000),
        ("x" + "a\n" * 300 + "x", "y" + "a\n b\n" * 150 + "y"),
    ],
)
def test_no_pair_of_texts_takes_long(rejected: str, corrected: str) -> None:
    started_s = time.process_time()
    weigh(rejected, corrected)
    assert time.process_time() - started_s < 5.0


texts = st.text(alphabet=st.sampled_from("ab_1 \n\t.,(é字"), max_size=80) | st.text(max_size=40)


@given(texts, texts)
def test_spans_are_the_hunks_unless_they_are_all_of_the_text(rejected: str, corrected: str) -> None:
    for weighted, hunks in zip(weigh(rejected, corrected), changed(rejected, corrected), strict=True):
        spans = tuple((span.start, span.end) for span in weighted.spans)
        assert spans == (() if hunks == ((0, len(weighted.text)),) else hunks)
        assert all(span.weight > 0.0 for span in weighted.spans)


@given(texts, texts)
def test_what_is_not_changed_is_the_same_on_both_sides_unless_a_word_follows_a_deletion(
    rejected: str, corrected: str
) -> None:
    left, right = changed(rejected, corrected)
    if not left and not right:
        assert rejected == corrected or rejected.startswith(corrected) or corrected.startswith(rejected)
    for text, hunks in ((rejected, left), (corrected, right)):
        assert all(start < end <= len(text) for start, end in hunks)
        assert all(hunk[1] < next_hunk[0] for hunk, next_hunk in pairwise(hunks))
