"""How mass is divided between kinds of feedback and between authors."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.balance import AUTHOR_SCALE_MIN, AUTHOR_SHARE, cap_authors, give_takeovers_half
from rewards.episode import Episode, Part, Weighted

PROMPT = ({"role": "user", "content": "ask"},)


def build_episodes(mass: float = 1.0) -> tuple[Episode, ...]:
    return (Episode(events=("t#e",), part=Part.NEW, messages=PROMPT, reply=Weighted(text="yes"), mass=mass),)


def masses_by_author(events: dict[int, str]) -> dict[str, float]:
    capped = cap_authors({seq: build_episodes() for seq in events}, events)
    masses: dict[str, float] = defaultdict(float)
    for seq, episodes in capped.items():
        masses[events[seq]] += sum(episode.mass for episode in episodes)
    return masses


def events_of_authors(counts: dict[str, int]) -> dict[int, str]:
    authors = [author for author, count in counts.items() for _ in range(count)]
    return dict(enumerate(authors))


def test_one_author_alone_keeps_all_mass() -> None:
    assert masses_by_author(events_of_authors({"ann": 7})) == {"ann": 7.0}


def test_two_authors_weigh_the_same() -> None:
    assert masses_by_author(events_of_authors({"ann": 6, "bob": 3})) == {
        "ann": pytest.approx(3.0),
        "bob": 3.0,
    }


def test_of_many_authors_none_has_more_than_a_fifth() -> None:
    masses = masses_by_author(
        events_of_authors({"ann": 9, "bob": 3, "cy": 3, "di": 3, "ed": 3, "flo": 3, "gus": 3})
    )
    assert masses["ann"] / sum(masses.values()) == pytest.approx(AUTHOR_SHARE)
    assert masses["bob"] == 3.0


def test_one_event_of_a_second_author_does_not_outweigh_all_events_of_the_first() -> None:
    masses = masses_by_author(events_of_authors({"ann": 40, "bob": 1}))
    assert masses == {"ann": pytest.approx(40 * AUTHOR_SCALE_MIN), "bob": 1.0}


def test_a_short_takeover_is_not_scaled_without_bound() -> None:
    credited = {seq: build_episodes() for seq in range(41)}
    balanced = give_takeovers_half(credited, frozenset({0}))
    assert balanced[0][0].mass == 4.0


@given(st.lists(st.integers(1, 40), min_size=2, max_size=9))
def test_no_author_exceeds_the_share_unless_scaled_by_the_minimum(counts: list[int]) -> None:
    events = events_of_authors({f"author {place}": count for place, count in enumerate(counts)})
    masses = masses_by_author(events)
    share = max(AUTHOR_SHARE, 1.0 / len(counts))
    for author, mass in masses.items():
        given_mass = sum(name == author for name in events.values())
        assert 0.0 < mass <= given_mass + 1e-9
        floored = mass <= given_mass * AUTHOR_SCALE_MIN + 1e-9
        if not floored and mass < given_mass - 1e-9:
            assert mass <= share * sum(masses.values()) + 1e-6
