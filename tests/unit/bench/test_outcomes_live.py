"""What a live run with outcomes alone says of itself."""

from typing import Any

from bench.outcomes_live import SEEN_MIN, LiveTraffic, RewardedConversation, figures


def build_traffic(*talks: tuple[str, float], champion: str) -> LiveTraffic:
    nobody: Any = None
    traffic = LiveTraffic(nobody, nobody, nobody, "sum", 0.0, champion=champion)
    traffic.ended = [
        RewardedConversation(version=version, value=value, ended_s=float(place))
        for place, (version, value) in enumerate(talks)
    ]
    return traffic


def test_the_agent_is_good_by_the_last_conversations_with_its_champion() -> None:
    earlier = [("v0", 0.0), ("v0", 1.0), *[("v2-aaaaaa", 0.0)] * 5]
    measured = figures(build_traffic(*earlier, *[("v2-aaaaaa", 1.0)] * SEEN_MIN, champion="v2-aaaaaa"), [])
    assert (measured["reward_of_base"], measured["reward_of_champion"]) == (0.5, 1.0)
    assert measured["is_good"]
    assert measured["by_version"]["v2-aaaaaa"]["first_s"] == 2.0


def test_few_conversations_do_not_show_that_it_is_good() -> None:
    assert not figures(build_traffic(*[("v1-aaaaaa", 1.0)] * 5, champion="v1-aaaaaa"), [])["is_good"]
    assert figures(build_traffic(champion="v0"), [])["reward_of_champion"] is None
