"""Base models on disk, made once for a session, and one thread, so that tests do not slow each other down."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)

import torch

from engine.warm_engine import WarmEngine
from tests.unit.engine import tiny_base


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    directories: dict[str, Path] = {}

    def base_of(family: str) -> Path:
        if family not in directories:
            directories[family] = tiny_base.build_base_directory(tmp_path_factory.mktemp(family), family)
        return directories[family]

    return base_of


@pytest.fixture
def base(base_of: Callable[[str], Path]) -> Path:
    return base_of("qwen3")


@pytest.fixture
def warm(base: Path) -> Callable[..., WarmEngine]:
    """An engine on the tiny base."""

    def warm(**changes: object) -> WarmEngine:
        values = {"slots": 4, "rank": 8, "threads": 1, "token_budget": 512}
        return WarmEngine.load(base, **{**values, **changes})

    return warm
