"""What the gateway's benchmark counts."""

from bench.gateway import is_capture


def test_counts_of_live_signals_are_no_captures() -> None:
    assert is_capture([("ce_id", b"1"), ("ce_type", b"clorad.interaction.v1")])
    assert not is_capture([("ce_id", b"1"), ("ce_type", b"clorad.live.v1")])
    assert not is_capture([])
