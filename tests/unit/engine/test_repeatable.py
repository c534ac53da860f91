"""In the block an operation that cannot repeat its bits is an error; after it, settings are as before."""

import os

import pytest
import torch

from engine.repeatable import fix_workspaces, repeatable


def write_over(x: torch.Tensor) -> torch.Tensor:
    """An operation for which torch has no fixed order."""
    return x.put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_an_operation_that_cannot_repeat_itself_is_an_error_within_and_not_outside():
    with repeatable(), pytest.raises(RuntimeError, match="deterministic"):
        write_over(torch.zeros(2))
    write_over(torch.zeros(2))


@pytest.mark.parametrize("warn_only", [True, False])
def test_the_earlier_settings_are_restored(warn_only):
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        with repeatable():
            pass
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() == warn_only
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("given", "found"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_a_gpus_workspaces_are_fixed_unless_they_are_already(given, found, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if given:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", given)
    fix_workspaces()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == found
