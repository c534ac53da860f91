"""Roles that never train can name lessons, recipes and version directories without loading torch."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "module",
    [
        "adapter_files",
        "adapter_store",
        "backend",
        "base_files",
        "lesson",
        "manifest",
        "measurements",
        "recipe",
    ],
)
def test_a_role_that_does_not_train_does_not_load_torch(module: str) -> None:
    code = f"import engine.{module}, sys; sys.exit('torch' in sys.modules or 'safetensors' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_engine_needs_nothing_of_the_daemons() -> None:
    """It imports torch, transformers, peft, safetensors and numpy, and none of the daemon's libraries."""
    code = (
        "import engine.warm_engine, engine.selftest, sys; "
        "sys.exit(bool({'structlog', 'pydantic', 'sqlalchemy', 'kafka', 'opentelemetry'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
