"""Near-duplicates begin alike, and what differs later or beside the user's words can be told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.grouping import OPENINGS_MAX, group_of, normalise, openings_of


def _asked(text: str):
    return [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]


def test_case_width_and_space_do_not_make_another_group_but_digits_do() -> None:
    assert group_of(_asked("Refund  order\n12")) == group_of(_asked("refund ｏrder 12 "))
    assert group_of(_asked("refund order 12")) != group_of(_asked("refund order 13"))


def test_only_the_first_user_message_counts() -> None:
    asked = _asked("hello")
    assert group_of(asked) == group_of([{"role": "system", "content": "other"}, asked[1]])
    assert group_of(asked) == group_of([*asked, {"role": "user", "content": "more"}])


def test_text_in_parts_counts_like_text() -> None:
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {}}]
    assert group_of([{"role": "user", "content": parts}]) == group_of(_asked("hello"))


def test_where_no_user_spoke_the_first_message_counts() -> None:
    assert group_of([{"role": "system", "content": "a"}]) != group_of([{"role": "system", "content": "b"}])


def test_a_longer_conversation_has_the_openings_of_the_shorter_one() -> None:
    short = openings_of([{"role": "user", "content": "hi"}])
    answered = [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "cancel order 1"}]
    long = openings_of([{"role": "user", "content": "hi"}, *answered])
    assert (len(short.prefixes), short.whole) == (1, None)
    assert long.prefixes[:1] == short.prefixes
    assert len(long.prefixes) == 2


def test_no_more_messages_are_told_apart_than_the_limit() -> None:
    talk = [{"role": "user", "content": str(number)} for number in range(100)]
    assert len(openings_of(talk).prefixes) == OPENINGS_MAX


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("today is 2026-11-30, 9:15", "today is 2026-12-01, 17:40", True),
        ("session 7f3a", "session 1b9c", True),
        ("memory: milk was bought", "memory: bread was bought", False),
    ],
)
def test_instructions_tell_conversations_apart_but_for_dates_and_numbers(
    one: str, other: str, same: bool
) -> None:
    first, second = (
        openings_of([{"role": "system", "content": text}, {"role": "user", "content": "Begin!"}])
        for text in (one, other)
    )
    assert first.prefixes == second.prefixes
    assert (first.whole == second.whole) is same


def test_tool_calls_tell_conversations_apart() -> None:
    def called(name: str) -> str | None:
        call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": name}}]}
        return openings_of([{"role": "user", "content": "go"}, call]).whole

    assert called("search") != called("buy")


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text())
def test_any_text_has_a_group(text: str) -> None:
    assert len(group_of(_asked(text))) == 64
