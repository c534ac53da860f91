"""Near-duplicates share a group, a group has one role for ever, and roles have their shares."""

from hypothesis import given
from hypothesis import strategies as st

from feedback.grouping import group_of, normalise, role_of
from ledger.events import Role


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


def test_a_quarter_is_for_the_gate_and_an_eighth_for_dev() -> None:
    roles = [role_of(group_of(_asked(f"question {number}"))) for number in range(4000)]
    assert abs(roles.count(Role.GATE) / 4000 - 1 / 4) < 0.03
    assert abs(roles.count(Role.DEV) / 4000 - 1 / 8) < 0.03


def test_the_role_of_a_group_never_changes() -> None:
    roles = [role_of(group_of(_asked(f"q{number}"))).value for number in range(8)]
    assert roles == ["train", "gate", "gate", "gate", "dev", "train", "dev", "dev"]


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text())
def test_any_text_has_a_group(text: str) -> None:
    assert len(group_of(_asked(text))) == 64
