"""The self-test passes on a sound machine, and reports its measurements."""

import pytest

from engine.selftest import selftest
from tests.unit.engine.machines import on_every_device


@on_every_device
@pytest.mark.parametrize(
    ("family", "dtype"),
    [("qwen3", "float32"), ("qwen2", "float32"), ("llama", "bfloat16"), ("qwen3_moe", "float32")],
)
def test_a_sound_machine_keeps_every_promise(base_of, device, family, dtype):
    checks = selftest(base_of(family), device=device, dtype=dtype, threads=1)
    assert len(checks) == 5
    assert all(check.kept for check in checks), checks
    assert "relative difference" in checks[0].detail
    named = checks[0].detail.endswith("not adapted on a base with experts: down_proj, gate_proj, up_proj")
    assert named == (family == "qwen3_moe")
