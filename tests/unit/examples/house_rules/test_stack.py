"""The demo's servers and roles: one demo in a folder at a time."""

from pathlib import Path

import pytest

from examples.house_rules.stack import Stack, StackFailedError, StackOptions
from tests.fakes.vllm import FakeVLLM

SHOP = Path(__file__).resolve().parents[4] / "examples" / "house_rules" / "worlds" / "shop.toml"


def test_a_second_demo_in_one_folder_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    plan = StackOptions(folder=tmp_path / "demo", agents={})
    first, second = Stack(plan), Stack(plan)
    first.claim()
    (tmp_path / "demo").mkdir()
    try:
        with pytest.raises(StackFailedError, match="another demo runs"):
            second.start()
        assert (tmp_path / "demo").is_dir()
    finally:
        second.stop()
        first.stop()
    second.claim()
    second.stop()


def test_servers_of_others_are_used_and_examined_before_roles_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica answers, and serves another model than the demo's: that is said before anything starts."""
    replica, ledger = FakeVLLM(), f"sqlite:///{tmp_path / 'demo' / 'ledger.db'}"
    monkeypatch.setenv("VLLM_URL", replica.url)
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("CLORAD_KAFKA__OPTIONS", '{"bootstrap_timeout_ms": 500}')
    stack = Stack(StackOptions(folder=tmp_path / "demo", agents={"coder": "exact"}))
    try:
        with pytest.raises(StackFailedError, match=r"Kafka at 127\.0\.0\.1:1 did not answer"):
            stack.launch()
    finally:
        stack.stop()
        replica.kill()
    settings = stack.config.read_text()
    assert replica.url in settings
    assert "127.0.0.1:1" in settings
    assert ledger in settings
