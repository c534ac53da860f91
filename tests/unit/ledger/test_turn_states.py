"""The words of a turn's record."""

from ledger.turn_states import EventOutcome, EventResult, TurnPart, stored_result
from rewards.episode import Part


def test_the_parts_of_a_turn_are_the_parts_of_an_episode() -> None:
    assert {part.name: part.value for part in TurnPart} == {part.name: part.value for part in Part}


def test_a_result_says_what_became_of_the_event_and_why() -> None:
    assert EventResult(outcome=EventOutcome.ALREADY_KNOWN).text == "already known"
    assert EventResult(outcome=EventOutcome.BARREN, reason="empty").text == "barren: empty"


def test_an_event_of_a_turn_that_is_open_has_no_result_yet() -> None:
    assert stored_result(None, None) is None
    assert stored_result("not_used", "why") == EventResult(outcome=EventOutcome.NOT_USED, reason="why")
