"""How a refused batch is divided, and which gate prompts judge a half."""

import pytest

from ledger.events import KeptEvent
from rewards.exchange import History
from rewards.halves import halves, nearest_to
from tests.unit.rewards.events import build_correction

NOTHING = History(interactions={}, conversations={})
CITIES = ("Lyon", "Oslo", "Bern", "Kyiv", "Riga", "Bonn", "Nice", "Cork")


def build_cancelling(seq: int, order: int) -> KeptEvent:
    return build_correction(seq, f"please cancel order {order}", "Sure!", f'{{"tool":"cancel","id":{order}}}')


def build_weather(seq: int, city: str) -> KeptEvent:
    return build_correction(seq, f"what is the weather in {city}", "Sunny.", f"call forecast with {city}")


def batch() -> list[KeptEvent]:
    """Two rules of six corrections each, one after the other in turn."""
    pairs = [(build_cancelling(2 * n, 100 + n), build_weather(2 * n + 1, CITIES[n])) for n in range(6)]
    return [kept for pair in pairs for kept in pair]


def seqs(events: list[KeptEvent]) -> set[int]:
    return {kept.seq for kept in events}


def test_each_rule_is_in_one_half() -> None:
    first, second = halves(batch(), NOTHING)
    assert {frozenset(seqs(first)), frozenset(seqs(second))} == {
        frozenset(range(0, 12, 2)),
        frozenset(range(1, 12, 2)),
    }


def test_one_rule_is_divided_too_but_not_one_prompt() -> None:
    first, second = halves([build_cancelling(n, 100 + n) for n in range(7)], NOTHING)
    assert (len(first), len(second)) == (3, 4)
    same = [build_cancelling(n, 100) for n in range(5)]
    assert halves(same, NOTHING) == [same]
    assert halves([], NOTHING) == []


@pytest.mark.parametrize("bad", range(0, 17, 4))
def test_one_bad_event_is_alone_after_few_divisions(bad: int) -> None:
    events = [build_cancelling(n, 100 + n) for n in range(8)] + [
        build_weather(8 + n, city) for n, city in enumerate(CITIES)
    ]
    events.append(build_correction(16, "good morning", "Good morning!", "Go away."))
    divisions = 0
    while len(events) > 1:
        [events] = [half for half in halves(events, NOTHING) if bad in seqs(half)]
        divisions += 1
    assert divisions <= 5


def test_the_same_events_are_divided_alike_in_whatever_order_they_come() -> None:
    assert halves(batch()[::-1], NOTHING) == halves(batch(), NOTHING)


def test_a_half_is_judged_on_prompts_like_its_own() -> None:
    cancelling, weather = halves(batch(), NOTHING)
    if 1 in seqs(cancelling):
        cancelling, weather = weather, cancelling
    gate = [build_cancelling(100, 1), build_weather(101, CITIES[7])]
    assert seqs(nearest_to(gate, cancelling, weather, NOTHING)) == {100}
    assert seqs(nearest_to(gate, weather, cancelling, NOTHING)) == {101}
    assert seqs(nearest_to(gate, weather, [], NOTHING)) == {100, 101}, "nothing else could be meant"
