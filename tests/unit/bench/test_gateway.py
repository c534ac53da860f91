"""What the gateway's benchmark counts."""

from bench.gateway import RouteSamples, is_capture, long_request
from bench.gateway_comparison import regime_figures
from bench.gateway_processes import CAPTURED, PLAIN
from bench.replica import prompt_ids


def test_counts_of_live_signals_are_no_captures() -> None:
    assert is_capture([("ce_id", b"1"), ("ce_type", b"clorad.interaction.v1")])
    assert not is_capture([("ce_id", b"1"), ("ce_type", b"clorad.live.v1")])
    assert not is_capture([])


def test_the_replica_gives_ids_of_a_prompt_of_two_thousand_tokens_to_who_asks_for_them() -> None:
    assert prompt_ids(long_request()) is None
    ids = prompt_ids({**long_request(), "return_token_ids": True})
    assert ids is not None
    assert 1_800 < len(ids) < 2_200


def test_what_capturing_costs_is_a_ratio_within_one_gateway() -> None:
    cpu_ms = {PLAIN: 2.0, CAPTURED: 3.0}
    samples = {
        (name, agent): RouteSamples(paced_ms=[4.0], cpu_ms_per_request=[ms * factor])
        for name, factor in (("before", 1.0), ("keys", 1.1))
        for agent, ms in cpu_ms.items()
    }
    figures = regime_figures(samples)
    assert figures["capture_cpu_ratio"] == {"before": 1.5, "keys": 1.5}
    assert figures["agents"][CAPTURED]["cpu_ratio"] == 1.1
